"""Durable jobs: what was reserved and bought under which id, and the decision that sent it there."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("quote_micro_usd", sa.BigInteger))
    op.add_column("jobs", sa.Column("vendor_job_id", sa.String(200)))
    op.add_column("jobs", sa.Column("calibration_json", sa.Text))
    op.add_column("jobs", sa.Column("note", sa.Text))
    op.create_table(
        "decisions",
        sa.Column("run_id", sa.String(100), sa.ForeignKey("runs.run_id"), primary_key=True),
        sa.Column("iteration", sa.Integer, primary_key=True),
        sa.Column("batch", sa.Integer, primary_key=True),
        sa.Column("attempt", sa.Integer, primary_key=True),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.Column("decision_json", sa.Text, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("decisions")
    for column in ("note", "calibration_json", "vendor_job_id", "quote_micro_usd"):
        op.drop_column("jobs", column)
