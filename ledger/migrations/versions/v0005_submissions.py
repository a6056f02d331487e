"""Rate limits of provider accounts; recent jobs of a device found without reading all."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "account_submissions",
        sa.Column("account", sa.String(64), primary_key=True),
        sa.Column("slot", sa.Integer, primary_key=True),
        sa.Column("at_us", sa.BigInteger, nullable=False),
    )
    op.create_index("jobs_of_device", "jobs", ["device", "created_us"])
    op.create_index("jobs_by_end", "jobs", ["state", "done_us"])


def downgrade() -> None:
    op.drop_index("jobs_by_end", "jobs")
    op.drop_index("jobs_of_device", "jobs")
    op.drop_table("account_submissions")
