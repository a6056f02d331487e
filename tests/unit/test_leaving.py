"""A process that leaves at once ends as it would have, with what it said and with its code."""

import subprocess
import sys

import pytest

DO = """
import atexit
from shotwise.leaving import leaving_at_once

with leaving_at_once():
    atexit.register(lambda: print("registered"))
    print("said", end=" ")
    {what}
"""


@pytest.mark.parametrize(
    ("what", "code"),
    [
        ("pass", 0),
        ("raise SystemExit(7)", 7),
        ("raise SystemExit", 0),
        ("raise SystemExit('no')", 1),
        ("1 / 0", 1),
    ],
)
def test_code_and_words_are_kept(what: str, code: int) -> None:
    done = subprocess.run([sys.executable, "-c", DO.format(what=what)], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (code, "said registered\n")
    assert ("ZeroDivisionError" in done.stderr) is ("/ 0" in what)
    assert ("no" in done.stderr) is ("'no'" in what)


def test_nothing_is_taken_apart() -> None:
    what = """
    class Heavy:
        def __del__(self):
            print("taken apart")
    kept = Heavy()
    """.strip()
    code = DO.format(what=what)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "said registered\n"
