"""The tables, as they are now. How they came to be so is in `ledger.migrations`.

Times are integer microseconds since the epoch, UTC; money is integer micro-USD. Arrays are stored as
`shotwise.arrays` packs them or as raw little-endian float64, with a SHA-256 beside them. Nothing is pickled.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
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
    # the scan that it is part of, and the circuit that it ended with
    Column("parent", String(100)),
    Column("ansatz_json", Text),
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
    # of jobs that are bought: what was reserved, under which id the provider knows it, what it ran under
    Column("quote_micro_usd", BigInteger),
    Column("vendor_job_id", String(200)),
    Column("calibration_json", Text),
    Column("note", Text),
    # when the provider took it, and when it was first seen running
    Column("submitted_us", BigInteger),
    Column("started_us", BigInteger),
    # what its use is billed by, and what it measures: limits and prices of devices change
    Column("price_json", Text),
    Column("plan_sha256", String(64)),
    Index("jobs_of_device", "device", "created_us"),
    Index("jobs_by_end", "state", "done_us"),
)

# The last submissions of a provider account, as many as its rate limit allows in a window.
account_submissions = Table(
    "account_submissions",
    metadata,
    Column("account", String(64), primary_key=True),
    Column("slot", Integer, primary_key=True),
    Column("at_us", BigInteger, nullable=False),
)

# Why each batch went where it went: candidates, scores, reasons. Entered before anything is bought.
decisions = Table(
    "decisions",
    metadata,
    Column("run_id", String(100), ForeignKey("runs.run_id"), primary_key=True),
    Column("iteration", Integer, primary_key=True),
    Column("batch", Integer, primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("at_us", BigInteger, nullable=False),
    Column("decision_json", Text, nullable=False),
    Column("took_us", BigInteger),
)

# What each reconciliation found: {kind: how many}.
reconciliations = Table(
    "reconciliations",
    metadata,
    Column("at_us", BigInteger, primary_key=True),
    Column("differences_json", Text, nullable=False),
)

# Runs that workers drive, and go on driving whatever dies. A flow run asks for at most one.
submissions = Table(
    "submissions",
    metadata,
    Column("run_id", String(100), ForeignKey("runs.run_id"), primary_key=True),
    Column("deployment", String(200), nullable=False),
    Column("queue", String(64), nullable=False),
    Column("submitted_us", BigInteger, nullable=False),
    Column("flow_run_id", String(64), unique=True),
)

# Runs that shall end: what is in flight is settled, nothing more is bought.
cancellations = Table(
    "cancellations",
    metadata,
    Column("run_id", String(100), ForeignKey("runs.run_id"), primary_key=True),
    Column("asked_us", BigInteger, nullable=False),
)

# What devices showed when probed, and the quarantines that followed. Append-only both.
probes = Table(
    "probes",
    metadata,
    Column("probe_id", Integer, primary_key=True, autoincrement=True),
    Column("device", String(64), nullable=False, index=True),
    Column("at_us", BigInteger, nullable=False),
    Column("shots", BigInteger, nullable=False),
    Column("readout_error", Float(53), nullable=False),
    Column("mirror_error", Float(53), nullable=False),
    Column("verdict", String(16), nullable=False),
    Column("reason", Text, nullable=False),
    Column("details_json", Text, nullable=False),
)

quarantines = Table(
    "quarantines",
    metadata,
    Column("change_id", Integer, primary_key=True, autoincrement=True),
    Column("device", String(64), nullable=False, index=True),
    Column("at_us", BigInteger, nullable=False),
    Column("quarantined", Boolean, nullable=False),
    Column("reason", Text, nullable=False),
    Column("probe_id", Integer, ForeignKey("probes.probe_id")),
)

accounts = Table(
    "accounts",
    metadata,
    Column("path", String(255), primary_key=True),
    Column("parent", String(255), ForeignKey("accounts.path"), index=True),
    Column("level", Integer, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    *(
        Column(f"{part}_{currency}", BigInteger, nullable=part == "limit")
        for part in ("limit", "held", "posted", "disputed")
        for currency in ("shots", "micro_usd")
    ),
    # the guarantee of the ledger; without a limit (NULL) its part of the condition is unknown, which passes
    *(
        CheckConstraint(
            f"held_{currency} >= 0 AND posted_{currency} >= 0 AND disputed_{currency} >= 0 "
            f"AND posted_{currency} + held_{currency} <= limit_{currency}",
            name=f"within_limit_{currency}",
        )
        for currency in ("shots", "micro_usd")
    ),
    # the few rows are rewritten all the time: room for new versions beside the old (PostgreSQL HOT updates)
    postgresql_with={"fillfactor": 20},
)

# Append-only: triggers refuse UPDATE and DELETE. The balances in `accounts` are sums over these rows.
entries = Table(
    "entries",
    metadata,
    Column("entry_id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("token", String(64)),
    Column("step", String(100)),
    Column("account", String(255), ForeignKey("accounts.path"), nullable=False, index=True),
    Column("kind", String(16), nullable=False),
    Column("shots", BigInteger),
    Column("micro_usd", BigInteger),
    Column("at_us", BigInteger, nullable=False),
    Column("note", Text, nullable=False),
    # each step of a token is taken at most once; limit entries have neither
    UniqueConstraint("token", "step", name="one_entry_a_step"),
    CheckConstraint(
        "kind = 'limit' OR "
        "(token IS NOT NULL AND step IS NOT NULL AND shots IS NOT NULL AND micro_usd IS NOT NULL)",
        name="complete_entry",
    ),
)
