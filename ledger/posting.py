"""How a posting reaches the tables: one entry, and its movement at every level, or nothing at all.

On PostgreSQL both statements are the body of the function `post_entry` (migration 0008), so that the
tenant's row, which everyone wants, is locked for the server's own time and not for a dialogue with us.
"""

from __future__ import annotations

from enum import Enum, auto

from sqlalchemy import Connection

from ledger import rules
from ledger.accounts import LEVELS_MAX, balances_to, path_to
from ledger.amounts import TOTAL_MAX, Amount
from ledger.errors import BudgetExceededError
from ledger.rules import RESERVE_STEP, Posting
from ledger.statements import Statement


class Posted(Enum):
    """What came of a posting, if no limit refused it."""

    DONE = auto()
    TAKEN = auto()
    """Nothing was changed: the token took this step before, saying the same or not."""


_ROOM = " AND ".join(
    f":held_{c} + :posted_{c} <= COALESCE(limit_{c}, {TOTAL_MAX}) - posted_{c} - held_{c}"
    f" - CASE WHEN :held_{c} > 0 THEN disputed_{c} ELSE 0 END"
    for c in ("shots", "micro_usd")
)
_PATH = ", ".join(f":path_{level}" for level in range(LEVELS_MAX))
INSERT = Statement(f"""
    INSERT INTO entries (token, step, account, kind, shots, micro_usd, at_us, note)
    SELECT :token, :step, :account, :kind, :shots, :micro_usd, :at_us, :note
    WHERE (SELECT count(*) FROM accounts WHERE path IN ({_PATH}) AND {_ROOM}) = :levels
    ON CONFLICT (token, step) DO NOTHING
    RETURNING entry_id
""")
_MOVED = ", ".join(
    f"{part}_{c} = {part}_{c} + :{part}_{c}"
    for part in ("held", "posted", "disputed")
    for c in ("shots", "micro_usd")
)
MOVE = Statement(f"UPDATE accounts SET {_MOVED} WHERE path IN ({_PATH})")
ARGUMENT_NAMES = (
    "path_0",
    "path_1",
    "path_2",
    "levels",
    "token",
    "step",
    "account",
    "kind",
    "shots",
    "micro_usd",
    "at_us",
    "note",
    "held_shots",
    "held_micro_usd",
    "posted_shots",
    "posted_micro_usd",
    "disputed_shots",
    "disputed_micro_usd",
)


def _arguments(parameters: list[str]) -> str:
    """Of PostgreSQL's `post_entry` and `post_alone`; these parameters for those names."""
    path, rest = parameters[:LEVELS_MAX], parameters[LEVELS_MAX:]
    return f"ARRAY[{', '.join(path)}]::varchar[], {', '.join(rest)}"


NUMBERED_ARGUMENTS = _arguments([f"${at}" for at in range(1, len(ARGUMENT_NAMES) + 1)])
_POST = Statement(f"SELECT post_entry({_arguments([f':{name}' for name in ARGUMENT_NAMES])})")
_TAKEN = Statement("SELECT 1 FROM entries WHERE token = :token AND step = :step")
RESERVED = Statement(
    f"SELECT account, shots, micro_usd FROM entries WHERE token = :token AND step = '{RESERVE_STEP}'"
)


def post(
    connection: Connection, token: str, account: str, posting: Posting, *, at_us: int, note: str = ""
) -> Posted | BudgetExceededError:
    """Enter a posting and move it at every level of the account's path, or change nothing.

    A refusal is returned, not raised: nothing was changed, and the transaction can go on.

    Raises:
        SpecError: no such account.
    """
    if _apply(connection, values_of(token, account, posting, at_us=at_us, note=note)):
        return Posted.DONE
    if _TAKEN.first(connection, {"token": token, "step": posting.step}) is not None:
        return Posted.TAKEN
    refused = rules.refusal(balances_to(connection, account), posting)
    assert refused is not None, "a posting was refused that every limit has room for"
    return refused


def reservation_of(connection: Connection, token: str) -> tuple[str, Amount] | None:
    """Account and amount of a token's reservation, which never change; None where there is none."""
    row = RESERVED.first(connection, {"token": token})
    return None if row is None else (row[0], Amount(row[1], row[2]))


def values_of(token: str, account: str, posting: Posting, *, at_us: int, note: str) -> dict[str, str | int]:
    """A posting as the parameters of the statements here.

    Raises:
        SpecError: not an account path.
    """
    path = path_to(account)
    return {
        "levels": len(path),
        **{f"path_{level}": path[min(level, len(path) - 1)] for level in range(LEVELS_MAX)},
        "token": token,
        "step": posting.step,
        "account": account,
        "kind": posting.kind.value,
        "shots": posting.amount.shots,
        "micro_usd": posting.amount.micro_usd,
        "at_us": at_us,
        "note": note,
        "held_shots": posting.held.shots,
        "held_micro_usd": posting.held.micro_usd,
        "posted_shots": posting.posted.shots,
        "posted_micro_usd": posting.posted.micro_usd,
        "disputed_shots": posting.disputed.shots,
        "disputed_micro_usd": posting.disputed.micro_usd,
    }


def _apply(connection: Connection, values: dict[str, str | int]) -> bool:
    if connection.dialect.name == "postgresql":
        row = _POST.first(connection, values)
        return row is not None and bool(row[0])
    if INSERT.first(connection, values) is None:
        return False
    MOVE.first(connection, values)
    return True
