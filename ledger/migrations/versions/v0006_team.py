"""What a team adds: who asked a worker for a run, which runs shall end, what devices showed when probed."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_table(
        "submissions",
        sa.Column("run_id", sa.String(100), sa.ForeignKey("runs.run_id"), primary_key=True),
        sa.Column("deployment", sa.String(200), nullable=False),
        sa.Column("queue", sa.String(64), nullable=False),
        sa.Column("submitted_us", sa.BigInteger, nullable=False),
        sa.Column("flow_run_id", sa.String(64), unique=True),
    )
    op.create_table(
        "cancellations",
        sa.Column("run_id", sa.String(100), sa.ForeignKey("runs.run_id"), primary_key=True),
        sa.Column("asked_us", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "probes",
        sa.Column("probe_id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("device", sa.String(64), nullable=False, index=True),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.Column("shots", sa.BigInteger, nullable=False),
        sa.Column("readout_error", sa.Float(53), nullable=False),
        sa.Column("mirror_error", sa.Float(53), nullable=False),
        sa.Column("verdict", sa.String(16), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("details_json", sa.Text, nullable=False),
    )
    op.create_table(
        "quarantines",
        sa.Column("change_id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("device", sa.String(64), nullable=False, index=True),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.Column("quarantined", sa.Boolean, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("probe_id", sa.Integer, sa.ForeignKey("probes.probe_id")),
    )


def downgrade() -> None:
    for table in ("quarantines", "probes", "cancellations", "submissions"):
        op.drop_table(table)
