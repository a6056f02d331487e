"""Ledger operations of one posting in one message to PostgreSQL, durable and with short locks.

The procedures commit without waiting for the disk, which lets the locks go, and then write a record of their
own whose commit waits until the log is on disk up to it (`ledger.early_release` says why that is as durable).
"""

from alembic import op

revision = "0007"
down_revision = "0006"

_COMMIT_AND_FLUSH = """
    COMMIT;
    PERFORM pg_logical_emit_message(true, 'shotwise', '');
"""

_POST_ALONE = f"""
    CREATE PROCEDURE post_alone(
        INOUT done boolean,
        a_path varchar[], a_levels int, a_token varchar, a_step varchar, a_account varchar, a_kind varchar,
        a_shots bigint, a_micro_usd bigint, a_at_us bigint, a_note text,
        more_held_shots bigint, more_held_micro_usd bigint, more_posted_shots bigint,
        more_posted_micro_usd bigint, more_disputed_shots bigint, more_disputed_micro_usd bigint
    ) LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM set_config('synchronous_commit', 'off', true);
        done := post_entry(
            a_path, a_levels, a_token, a_step, a_account, a_kind, a_shots, a_micro_usd, a_at_us, a_note,
            more_held_shots, more_held_micro_usd, more_posted_shots, more_posted_micro_usd,
            more_disputed_shots, more_disputed_micro_usd
        );
        {_COMMIT_AND_FLUSH}
    END $$
"""

# `rules.settle` within the promise, and `rules.release`: the promise is freed, the actual cost is spent
_END_ALONE = f"""
    CREATE PROCEDURE end_alone(
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
            done := post_entry(
                ARRAY[name[1], name[1] || '/' || name[2], at_account]::varchar[], cardinality(name),
                a_token, 'end', at_account, a_kind,
                CASE a_kind WHEN 'release' THEN promised_shots ELSE actual_shots END,
                CASE a_kind WHEN 'release' THEN promised_micro_usd ELSE actual_micro_usd END,
                a_at_us, a_note,
                -promised_shots, -promised_micro_usd, actual_shots, actual_micro_usd, 0, 0
            );
        END IF;
        {_COMMIT_AND_FLUSH}
    END $$
"""


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute(_POST_ALONE)
        op.execute(_END_ALONE)


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP PROCEDURE end_alone")
        op.execute("DROP PROCEDURE post_alone")
