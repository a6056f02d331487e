"""Disputes as people end them: by token, each once, all of a command or none."""

from __future__ import annotations

from collections.abc import Sequence

from ledger import Entry, Verdict
from shotwise.errors import SpecError


def verdicts(
    disputes: Sequence[Entry], accepted: Sequence[str], waived: Sequence[str], account: str
) -> list[Verdict]:
    """What ends the open disputes of the named tokens.

    Args:
        disputes: those of the account, open.

    Raises:
        SpecError: a token has none, or is named twice or both ways.
    """
    ways: dict[str, bool] = {}
    for accept, tokens in ((True, accepted), (False, waived)):
        for token in tokens:
            if token in ways:
                again = ways[token] == accept
                problem = "named twice" if again else "accepted and waived in one command"
                raise SpecError("TOKEN", token, problem, "name it once")
            if all(entry.token != token for entry in disputes):
                remedy = f"see `shotwise budget disputes {account}`"
                raise SpecError("TOKEN", token, "nothing is disputed", remedy)
            ways[token] = accept
    return [
        Verdict(entry.token, entry.step or "", ways[entry.token])
        for entry in disputes
        if entry.token is not None and entry.token in ways
    ]
