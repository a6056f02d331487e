"""Tables lose nothing, whatever the width of the terminal."""

import io
import sys

import pytest

from flows.terminal import ProgressLine, print_table

ROW = ("sim-auckland", "27", "$1,234.567890", "a verdict of many words that may go on below")


@pytest.mark.parametrize("is_terminal", [True, False])
def test_numbers_stay_in_one_piece(
    is_terminal: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: is_terminal)
    print_table(("device", "qubits", "cost", "verdict"), [ROW, ("jax", "30", "$0.00", "chosen")])
    shown = capsys.readouterr().out
    for text in (*ROW[:3], *ROW[3].split()):
        assert text in shown
    rows = [line for line in shown.splitlines() if "sim-auckland" in line]
    assert (ROW[3] in rows[0]) is not is_terminal


@pytest.mark.parametrize("is_terminal", [True, False])
def test_the_id_of_a_new_run_stays_on_the_screen(is_terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: is_terminal)
    line = ProgressLine(stream)
    line.say("starting ...")
    line.tell_entered("h2-4f2a91c0")
    line.say("next")
    assert "h2-4f2a91c0 is entered; `shotwise resume h2-4f2a91c0` goes on with it" in stream.getvalue()
    assert "ends early\n" in stream.getvalue()
