"""Disputes take their room from promises; jobs keep their price and what they measure."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

_TOTAL_MAX = 2**62


def _post_entry(disputes: dict[str, str]) -> str:
    room = " AND ".join(
        f"more_held_{c} + more_posted_{c} <= COALESCE(limit_{c}, {_TOTAL_MAX}) - posted_{c} - held_{c}"
        f"{disputes.get(c, '')}"
        for c in ("shots", "micro_usd")
    )
    return f"""
        CREATE OR REPLACE FUNCTION post_entry(
            a_path varchar[], a_levels int, a_token varchar, a_step varchar, a_account varchar,
            a_kind varchar, a_shots bigint, a_micro_usd bigint, a_at_us bigint, a_note text,
            more_held_shots bigint, more_held_micro_usd bigint, more_posted_shots bigint,
            more_posted_micro_usd bigint, more_disputed_shots bigint, more_disputed_micro_usd bigint
        ) RETURNS boolean LANGUAGE plpgsql AS $$
        BEGIN
            INSERT INTO entries (token, step, account, kind, shots, micro_usd, at_us, note)
            SELECT a_token, a_step, a_account, a_kind, a_shots, a_micro_usd, a_at_us, a_note
            WHERE a_levels = (
                SELECT count(*) FILTER (WHERE {room})
                FROM (SELECT * FROM accounts WHERE path = ANY (a_path) ORDER BY level FOR NO KEY UPDATE)
                    AS locked
            )
            ON CONFLICT (token, step) DO NOTHING;
            IF NOT FOUND THEN RETURN false; END IF;
            UPDATE accounts SET
                held_shots = held_shots + more_held_shots,
                held_micro_usd = held_micro_usd + more_held_micro_usd,
                posted_shots = posted_shots + more_posted_shots,
                posted_micro_usd = posted_micro_usd + more_posted_micro_usd,
                disputed_shots = disputed_shots + more_disputed_shots,
                disputed_micro_usd = disputed_micro_usd + more_disputed_micro_usd
            WHERE path = ANY (a_path);
            RETURN true;
        END $$
    """


_BIND = {c: f" - CASE WHEN more_held_{c} > 0 THEN disputed_{c} ELSE 0 END" for c in ("shots", "micro_usd")}


def upgrade() -> None:
    op.add_column("jobs", sa.Column("price_json", sa.Text))
    op.add_column("jobs", sa.Column("plan_sha256", sa.String(64)))
    if op.get_bind().dialect.name == "postgresql":
        op.execute(_post_entry(_BIND))


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute(_post_entry({}))
    op.drop_column("jobs", "plan_sha256")
    op.drop_column("jobs", "price_json")
