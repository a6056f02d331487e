"""Who holds a lease, as text and back."""

import os
from dataclasses import replace

import pytest

from ledger import Holder


def test_a_holder_survives_as_text_and_this_one_lives() -> None:
    mine = Holder.of_this_process()
    assert mine.pid == os.getpid()
    assert Holder.parse(str(mine)) == mine
    assert not mine.is_dead


def test_only_a_process_of_this_place_is_known_to_be_dead() -> None:
    gone = replace(Holder.of_this_process(), pid=2**22 + 1)
    assert gone.is_dead
    assert not replace(gone, host="another").is_dead
    assert not replace(gone, place="another").is_dead


def test_a_host_may_have_colons() -> None:
    assert Holder.parse("fe80::1:boot+1:17:99") == Holder("fe80::1", "boot+1", 17, "99")


@pytest.mark.parametrize("text", [None, "", "host", "host:boot:pid:1", "17:99"])
def test_what_cannot_be_read_is_nobody(text: str | None) -> None:
    assert Holder.parse(text) is None
