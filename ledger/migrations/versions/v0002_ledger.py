"""The ledger: accounts with their limits and balances, and append-only entries."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_TOTAL_MAX = 2**62

# The tenant's row is locked first by everyone, so nobody waits in a circle, and the limits are judged on the
# rows as locked.
_POST_ENTRY = f"""
    CREATE FUNCTION post_entry(
        a_path varchar[], a_levels int, a_token varchar, a_step varchar, a_account varchar, a_kind varchar,
        a_shots bigint, a_micro_usd bigint, a_at_us bigint, a_note text,
        more_held_shots bigint, more_held_micro_usd bigint, more_posted_shots bigint,
        more_posted_micro_usd bigint, more_disputed_shots bigint, more_disputed_micro_usd bigint
    ) RETURNS boolean LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO entries (token, step, account, kind, shots, micro_usd, at_us, note)
        SELECT a_token, a_step, a_account, a_kind, a_shots, a_micro_usd, a_at_us, a_note
        WHERE a_levels = (
            SELECT count(*) FILTER (
                WHERE more_held_shots + more_posted_shots
                    <= COALESCE(limit_shots, {_TOTAL_MAX}) - posted_shots - held_shots
                AND more_held_micro_usd + more_posted_micro_usd
                    <= COALESCE(limit_micro_usd, {_TOTAL_MAX}) - posted_micro_usd - held_micro_usd
            )
            FROM (SELECT * FROM accounts WHERE path = ANY (a_path) ORDER BY level FOR NO KEY UPDATE) AS locked
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


def upgrade() -> None:
    op.create_table(
        "accounts",
        sa.Column("path", sa.String(255), primary_key=True),
        sa.Column("parent", sa.String(255), sa.ForeignKey("accounts.path"), index=True),
        sa.Column("level", sa.Integer, nullable=False),
        sa.Column("created_us", sa.BigInteger, nullable=False),
        sa.Column("limit_shots", sa.BigInteger),
        sa.Column("limit_micro_usd", sa.BigInteger),
        sa.Column("held_shots", sa.BigInteger, nullable=False),
        sa.Column("held_micro_usd", sa.BigInteger, nullable=False),
        sa.Column("posted_shots", sa.BigInteger, nullable=False),
        sa.Column("posted_micro_usd", sa.BigInteger, nullable=False),
        sa.Column("disputed_shots", sa.BigInteger, nullable=False),
        sa.Column("disputed_micro_usd", sa.BigInteger, nullable=False),
        *(
            sa.CheckConstraint(
                f"held_{currency} >= 0 AND posted_{currency} >= 0 AND disputed_{currency} >= 0 "
                f"AND posted_{currency} + held_{currency} <= limit_{currency}",
                name=f"within_limit_{currency}",
            )
            for currency in ("shots", "micro_usd")
        ),
        postgresql_with={"fillfactor": 20},
    )
    op.create_table(
        "entries",
        sa.Column(
            "entry_id",
            sa.BigInteger().with_variant(sa.Integer, "sqlite"),
            primary_key=True,
            autoincrement=True,
        ),
        sa.Column("token", sa.String(64)),
        sa.Column("step", sa.String(100)),
        sa.Column("account", sa.String(255), sa.ForeignKey("accounts.path"), nullable=False, index=True),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("shots", sa.BigInteger),
        sa.Column("micro_usd", sa.BigInteger),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.UniqueConstraint("token", "step", name="one_entry_a_step"),
        sa.CheckConstraint(
            "kind = 'limit' OR "
            "(token IS NOT NULL AND step IS NOT NULL AND shots IS NOT NULL AND micro_usd IS NOT NULL)",
            name="complete_entry",
        ),
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute(_POST_ENTRY)
        op.execute(
            """
            CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END $$
            """
        )
        op.execute(
            "CREATE TRIGGER entries_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON entries "
            "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
        )
        return
    for change in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER entries_no_{change.lower()} BEFORE {change} ON entries "
            "BEGIN SELECT RAISE(ABORT, 'entries is append-only'); END"
        )


def downgrade() -> None:
    op.drop_table("entries")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION refuse_change()")
        op.execute("DROP FUNCTION post_entry")
    op.drop_table("accounts")
