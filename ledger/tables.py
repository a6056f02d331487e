"""The tables, as they are now. How they came to be so is in `ledger.migrations`.

Times are integer microseconds since the epoch, UTC; money is integer micro-USD. Arrays are stored as npz
archives or raw little-endian float64, with a SHA-256 beside them. Nothing is pickled.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

metadata = MetaData()

runs = Table(
    "runs",
    metadata,
    Column("run_id", String(100), primary_key=True),
    Column("name", String(64), nullable=False),
    Column("kind", String(32), nullable=False),
    Column("state", String(16), nullable=False),
    Column("reason", String(32)),
    Column("spec_json", Text, nullable=False),
    Column("problem_sha256", String(64), nullable=False),
    Column("versions_json", Text, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("updated_us", BigInteger, nullable=False),
    Column("active_us", BigInteger, nullable=False, default=0),
    Column("result_json", Text),
    Column("mlflow_run_id", String(64)),
    # the lease: one live driver, whose fence every write names
    Column("fence", Integer, nullable=False, default=0),
    Column("holder", String(200)),
    Column("lease_until_us", BigInteger, nullable=False, default=0),
)

drives = Table(
    "drives",
    metadata,
    Column("run_id", String(100), ForeignKey("runs.run_id"), primary_key=True),
    Column("fence", Integer, primary_key=True),
    Column("started_us", BigInteger, nullable=False),
    Column("ended_us", BigInteger),
    Column("prefect_flow_run_id", String(64)),
)

iterations = Table(
    "iterations",
    metadata,
    Column("run_id", String(100), ForeignKey("runs.run_id"), primary_key=True),
    Column("iteration", Integer, primary_key=True),
    Column("at_us", BigInteger, nullable=False),
    Column("energy", Float(53), nullable=False),
    Column("energy_std_error", Float(53), nullable=False),
    Column("gradient_norm", Float(53)),
    Column("fidelity", Float(53)),
    Column("evaluations", Integer, nullable=False),
    Column("shots", BigInteger, nullable=False),
    Column("cost_micro_usd", BigInteger, nullable=False),
    Column("parameters", LargeBinary, nullable=False),
)

checkpoints = Table(
    "checkpoints",
    metadata,
    Column("run_id", String(100), ForeignKey("runs.run_id"), primary_key=True),
    Column("iteration", Integer, primary_key=True),
    Column("state", LargeBinary, nullable=False),
    Column("sha256", String(64), nullable=False),
)

jobs = Table(
    "jobs",
    metadata,
    Column("token", String(64), primary_key=True),
    Column("run_id", String(100), ForeignKey("runs.run_id"), nullable=False, index=True),
    Column("iteration", Integer, nullable=False),
    Column("batch", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("device", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("shots", BigInteger, nullable=False),
    Column("cost_micro_usd", BigInteger, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("done_us", BigInteger),
    Column("outcome", LargeBinary),
    Column("sha256", String(64)),
)
