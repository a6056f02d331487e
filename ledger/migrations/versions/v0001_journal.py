"""The journal: runs with their leases, drives, iterations, checkpoints, jobs."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "runs",
        sa.Column("run_id", sa.String(100), primary_key=True),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reason", sa.String(32)),
        sa.Column("spec_json", sa.Text, nullable=False),
        sa.Column("problem_sha256", sa.String(64), nullable=False),
        sa.Column("versions_json", sa.Text, nullable=False),
        sa.Column("created_us", sa.BigInteger, nullable=False),
        sa.Column("updated_us", sa.BigInteger, nullable=False),
        sa.Column("active_us", sa.BigInteger, nullable=False),
        sa.Column("result_json", sa.Text),
        sa.Column("mlflow_run_id", sa.String(64)),
        sa.Column("fence", sa.Integer, nullable=False),
        sa.Column("holder", sa.String(200)),
        sa.Column("lease_until_us", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "drives",
        sa.Column("run_id", sa.String(100), sa.ForeignKey("runs.run_id"), primary_key=True),
        sa.Column("fence", sa.Integer, primary_key=True),
        sa.Column("started_us", sa.BigInteger, nullable=False),
        sa.Column("ended_us", sa.BigInteger),
        sa.Column("prefect_flow_run_id", sa.String(64)),
    )
    op.create_table(
        "iterations",
        sa.Column("run_id", sa.String(100), sa.ForeignKey("runs.run_id"), primary_key=True),
        sa.Column("iteration", sa.Integer, primary_key=True),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.Column("energy", sa.Float(53), nullable=False),
        sa.Column("energy_std_error", sa.Float(53), nullable=False),
        sa.Column("gradient_norm", sa.Float(53)),
        sa.Column("fidelity", sa.Float(53)),
        sa.Column("evaluations", sa.Integer, nullable=False),
        sa.Column("shots", sa.BigInteger, nullable=False),
        sa.Column("cost_micro_usd", sa.BigInteger, nullable=False),
        sa.Column("parameters", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "checkpoints",
        sa.Column("run_id", sa.String(100), sa.ForeignKey("runs.run_id"), primary_key=True),
        sa.Column("iteration", sa.Integer, primary_key=True),
        sa.Column("state", sa.LargeBinary, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
    )
    op.create_table(
        "jobs",
        sa.Column("token", sa.String(64), primary_key=True),
        sa.Column("run_id", sa.String(100), sa.ForeignKey("runs.run_id"), nullable=False, index=True),
        sa.Column("iteration", sa.Integer, nullable=False),
        sa.Column("batch", sa.Integer, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("device", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("shots", sa.BigInteger, nullable=False),
        sa.Column("cost_micro_usd", sa.BigInteger, nullable=False),
        sa.Column("created_us", sa.BigInteger, nullable=False),
        sa.Column("done_us", sa.BigInteger),
        sa.Column("outcome", sa.LargeBinary),
        sa.Column("sha256", sa.String(64)),
    )


def downgrade() -> None:
    for table in ("jobs", "checkpoints", "iterations", "drives", "runs"):
        op.drop_table(table)
