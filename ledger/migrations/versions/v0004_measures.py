"""What telemetry and comparing need: when jobs were taken and began, how long deciding took, findings."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("submitted_us", sa.BigInteger))
    op.add_column("jobs", sa.Column("started_us", sa.BigInteger))
    op.add_column("decisions", sa.Column("took_us", sa.BigInteger))
    op.add_column("runs", sa.Column("parent", sa.String(100)))
    op.add_column("runs", sa.Column("ansatz_json", sa.Text))
    op.create_table(
        "reconciliations",
        sa.Column("at_us", sa.BigInteger, primary_key=True),
        sa.Column("differences_json", sa.Text, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("reconciliations")
    for table, columns in (
        ("runs", ("ansatz_json", "parent")),
        ("decisions", ("took_us",)),
        ("jobs", ("started_us", "submitted_us")),
    ):
        for column in columns:
            op.drop_column(table, column)
