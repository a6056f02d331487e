"""Disputes as people end them: by token, each once, all of a command or none."""

from __future__ import annotations

from collections.abc import Sequence

from ledger import Entry, Verdict
from shotwise.errors import SpecError

PREFIX_MIN = 8
"""Characters of a token that name it at least, where it is not given whole."""


def verdicts(
    disputes: Sequence[Entry], accepted: Sequence[str], waived: Sequence[str], account: str
) -> list[Verdict]:
    """What ends the open disputes of the named tokens.

    Args:
        disputes: those of the account, open.
        accepted, waived: tokens, or as much of their beginnings as tells them apart.

    Raises:
        SpecError: a token has none, is named twice or both ways, or its beginning is short or another's too.
    """
    ways: dict[str, bool] = {}
    known = sorted({entry.token for entry in disputes if entry.token is not None})
    for accept, given in ((True, accepted), (False, waived)):
        for text in given:
            token = _disputed_token(text, known, account)
            if token in ways:
                again = ways[token] == accept
                problem = "named twice" if again else "accepted and waived in one command"
                raise SpecError("TOKEN", text, problem, "name it once")
            ways[token] = accept
    return [
        Verdict(entry.token, entry.step or "", ways[entry.token])
        for entry in disputes
        if entry.token is not None and entry.token in ways
    ]


def _disputed_token(text: str, known: Sequence[str], account: str) -> str:
    """The one of the disputed tokens that is meant: it is this text, or it alone begins with it."""
    begun = [token for token in known if token.startswith(text)]
    if text in known:
        return text
    if begun and len(text) < PREFIX_MIN:
        raise SpecError("TOKEN", text, "too short", f"give at least {PREFIX_MIN} characters of the token")
    if len(begun) > 1:
        raise SpecError(
            "TOKEN", text, f"{len(begun)} disputed tokens begin so", "give more of its characters"
        )
    if not begun:
        raise SpecError("TOKEN", text, "nothing is disputed", f"see `shotwise budget disputes {account}`")
    return begun[0]
