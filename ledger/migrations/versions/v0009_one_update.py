"""A posting alone moves its accounts in one statement on PostgreSQL: what it moved in vain is rolled back.

`post_entry` changes nothing where it refuses, for the transactions that go on after it. The procedures of
migration 0007 are whole transactions: they lock the tenant's row, enter the posting, move every level that
has room, and undo all of it where not all had.
"""

from alembic import op

revision = "0009"
down_revision = "0008"

_TOTAL_MAX = 2**62
_ARGUMENTS = """
    a_path varchar[], a_levels int, a_token varchar, a_step varchar, a_account varchar, a_kind varchar,
    a_shots bigint, a_micro_usd bigint, a_at_us bigint, a_note text,
    more_held_shots bigint, more_held_micro_usd bigint, more_posted_shots bigint,
    more_posted_micro_usd bigint, more_disputed_shots bigint, more_disputed_micro_usd bigint
"""
_ROOM = " AND ".join(
    f"more_held_{c} + more_posted_{c} <= COALESCE(limit_{c}, {_TOTAL_MAX}) - posted_{c} - held_{c}"
    f" - CASE WHEN more_held_{c} > 0 THEN disputed_{c} ELSE 0 END"
    for c in ("shots", "micro_usd")
)

# the caller rolls back where it is not done
_POST_OR_FAIL = f"""
    CREATE FUNCTION post_or_fail({_ARGUMENTS}) RETURNS boolean LANGUAGE plpgsql AS $$
    DECLARE
        moved int;
    BEGIN
        PERFORM FROM accounts WHERE path = a_path[1] FOR NO KEY UPDATE;
        INSERT INTO entries (token, step, account, kind, shots, micro_usd, at_us, note)
        SELECT a_token, a_step, a_account, a_kind, a_shots, a_micro_usd, a_at_us, a_note
        FROM accounts WHERE path = a_account
        ON CONFLICT (token, step) DO NOTHING;
        IF NOT FOUND THEN RETURN false; END IF;
        UPDATE accounts SET
            held_shots = held_shots + more_held_shots,
            held_micro_usd = held_micro_usd + more_held_micro_usd,
            posted_shots = posted_shots + more_posted_shots,
            posted_micro_usd = posted_micro_usd + more_posted_micro_usd,
            disputed_shots = disputed_shots + more_disputed_shots,
            disputed_micro_usd = disputed_micro_usd + more_disputed_micro_usd
        WHERE path = ANY (a_path) AND {_ROOM};
        GET DIAGNOSTICS moved = ROW_COUNT;
        RETURN moved = a_levels;
    END $$
"""


def _post_alone(post: str, end: str) -> str:
    return f"""
        CREATE OR REPLACE PROCEDURE post_alone(INOUT done boolean, {_ARGUMENTS}) LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM set_config('synchronous_commit', 'off', true);
            done := {post}(
                a_path, a_levels, a_token, a_step, a_account, a_kind, a_shots, a_micro_usd, a_at_us, a_note,
                more_held_shots, more_held_micro_usd, more_posted_shots, more_posted_micro_usd,
                more_disputed_shots, more_disputed_micro_usd
            );
            {end}
        END $$
    """


def _end_alone(post: str, end: str) -> str:
    return f"""
        CREATE OR REPLACE PROCEDURE end_alone(
            INOUT done boolean, INOUT at_account varchar, INOUT promised_shots bigint,
            INOUT promised_micro_usd bigint,
            a_token varchar, a_kind varchar, actual_shots bigint, actual_micro_usd bigint, a_at_us bigint,
            a_note text
        ) LANGUAGE plpgsql AS $$
        DECLARE
            name varchar[];
        BEGIN
            PERFORM set_config('synchronous_commit', 'off', true);
            SELECT account, shots, micro_usd INTO at_account, promised_shots, promised_micro_usd
                FROM entries WHERE token = a_token AND step = 'reserve';
            done := FOUND AND actual_shots BETWEEN 0 AND promised_shots
                AND actual_micro_usd BETWEEN 0 AND promised_micro_usd;
            IF done THEN
                name := string_to_array(at_account, '/');
                done := {post}(
                    ARRAY[name[1], name[1] || '/' || name[2], at_account]::varchar[], cardinality(name),
                    a_token, 'end', at_account, a_kind,
                    CASE a_kind WHEN 'release' THEN promised_shots ELSE actual_shots END,
                    CASE a_kind WHEN 'release' THEN promised_micro_usd ELSE actual_micro_usd END,
                    a_at_us, a_note,
                    -promised_shots, -promised_micro_usd, actual_shots, actual_micro_usd, 0, 0
                );
            END IF;
            {end}
        END $$
    """


# how both procedures are durable with short locks: see migration 0007
_COMMIT_AND_FLUSH = """
    COMMIT;
    PERFORM pg_logical_emit_message(true, 'shotwise', '');
"""
_KEEP_OR_UNDO = f"""
    IF NOT done THEN
        ROLLBACK;
        RETURN;
    END IF;
    {_COMMIT_AND_FLUSH}
"""


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute(_POST_OR_FAIL)
        op.execute(_post_alone("post_or_fail", _KEEP_OR_UNDO))
        op.execute(_end_alone("post_or_fail", _KEEP_OR_UNDO))


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute(_post_alone("post_entry", _COMMIT_AND_FLUSH))
        op.execute(_end_alone("post_entry", _COMMIT_AND_FLUSH))
        op.execute("DROP FUNCTION post_or_fail")
