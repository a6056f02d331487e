"""Paid runs on a faulty provider, killed at any moment: nothing lost, nothing bought twice."""

import json
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from backends.sandbox import FaultKind, FaultSpec
from backends.sandbox.connection import KEY_VARIABLE
from backends.sandbox.process import SandboxProcess
from shotwise.home import Home
from tasks.prefect_server import PrefectServer
from tests.simulation.command import Folder, kill_at
from tests.simulation.telemetry import assert_telemetry_complete
from tests.simulation.test_resume import assert_same_run

SPEC = """
name: h2
problem: {kind: molecule, geometry: "H 0 0 0; H 0 0 0.7414"}
optimizer: {name: spsa, learning_rate: 0.1, max_iterations: 20}
execution: {mode: shots, shots: 200, device: sandbox-ideal, grouping: qubit_wise}
budget: {usd: 100}
seed: 7
"""
KEY = SecretStr("test-key-of-the-crash-suite")


@pytest.fixture
def sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SandboxProcess]:
    monkeypatch.setenv(KEY_VARIABLE, KEY.get_secret_value())
    with SandboxProcess(tmp_path / "sandbox", queue_scale=0, key=KEY) as process:
        yield process


@pytest.fixture(scope="module")
def api_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One Prefect server for all runs."""
    server = PrefectServer.start(Home(tmp_path_factory.mktemp("prefect") / "home"))
    try:
        yield server.wait()
    finally:
        server.stop()


@pytest.fixture
def folder(tmp_path: Path, sandbox: SandboxProcess, api_url: str) -> Folder:
    environment = {KEY_VARIABLE: KEY.get_secret_value(), "SHOTWISE_SANDBOX_URL": sandbox.url}
    environment["SHOTWISE_TELEMETRY"] = "file"
    return Folder(tmp_path / "home", api_url, environment)


def crash(folder: Folder, sandbox: SandboxProcess, spec: Path, seed: int, rate: float) -> dict:
    """One run under faults, killed once at a seeded moment and resumed to its end."""
    sandbox.control().inject_random(seed=seed, rate=rate)
    process = folder.start("run", str(spec), "--quiet")
    rng = random.Random(seed)
    assert kill_at(folder, process, rng, known=0, more=16), f"seed {seed}: the run ended before it was killed"
    rows = folder.query("SELECT run_id FROM runs ORDER BY created_us DESC LIMIT 1")
    resumed = folder.json("resume", rows[0][0], "--quiet")
    sandbox.control().clear()
    return resumed


def assert_books_agree(folder: Folder, sandbox: SandboxProcess) -> None:
    """Each token was bought at most once, and ledger = journal = the provider's bill to the micro-USD."""
    provider = sandbox.provider("sandbox-ideal")
    jobs = folder.query("SELECT token, state, cost_micro_usd FROM jobs")
    for token, state, _ in jobs:
        assert len(provider.find(token)) == (1 if state == "done" else 0), token
    billed = sum(line.cost_micro_usd for line in provider.bill())
    ((posted, held),) = folder.query(
        "SELECT posted_micro_usd, held_micro_usd FROM accounts WHERE path = 'default'"
    )
    assert (posted, held) == (billed, 0)
    assert sum(cost for _, state, cost in jobs if state == "done") == billed
    assert json.loads(folder.command("reconcile", "--json").stdout) == []


@pytest.mark.timeout(600)
def test_a_killed_paid_run_ends_as_if_undisturbed_and_is_paid_once(
    tmp_path: Path, folder: Folder, sandbox: SandboxProcess
) -> None:
    spec = tmp_path / "h2.yaml"
    spec.write_text(SPEC)
    undisturbed = folder.json("run", str(spec), "--quiet")
    resumed = crash(folder, sandbox, spec, seed=3, rate=0.1)
    assert_same_run(folder, undisturbed, resumed["run_id"], resumed, seed=3, outcomes=False)
    assert_books_agree(folder, sandbox)
    assert_telemetry_complete(folder)


@pytest.mark.timeout(600)
def test_a_run_stops_in_order_before_its_budget_is_overspent(tmp_path: Path, folder: Folder) -> None:
    spec = tmp_path / "h2.yaml"
    spec.write_text(SPEC.replace("usd: 100", "usd: 50"))
    result = folder.json("run", str(spec), "--quiet")
    assert result["reason"] == "budget_reached"
    assert 0 < result["cost_usd"] <= 50
    assert result["energy"] is not None
    ((posted, held, limit),) = folder.query(
        "SELECT posted_micro_usd, held_micro_usd, limit_micro_usd FROM accounts WHERE level = 2"
    )
    assert posted == round(result["cost_usd"] * 1e6)
    assert (held, limit) == (0, 50_000_000)
    poor = folder.command("run", str(spec), "--quiet", "--set", "budget.usd=1", "--json")
    assert poor.returncode == 3
    assert "budget.usd" in poor.stderr
    assert folder.query("SELECT count(*) FROM runs") == [(1,)]


@pytest.mark.timeout(600)
def test_one_ctrl_c_ends_a_wait_in_a_queue_and_resume_goes_on_with_the_same_job(
    tmp_path: Path, folder: Folder, sandbox: SandboxProcess
) -> None:
    spec = tmp_path / "h2.yaml"
    spec.write_text(SPEC.replace("max_iterations: 20", "max_iterations: 1"))
    sandbox.control().inject(FaultSpec(kind=FaultKind.JOB_STUCK_QUEUED, device="sandbox-ideal"))
    process = folder.start("run", str(spec), "--quiet")
    waiting = "SELECT token, vendor_job_id FROM jobs WHERE state = 'submitted'"
    while not (jobs := folder.query(waiting)):
        assert process.poll() is None, "ended before it waited"
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(120) == 130
    assert sandbox.control().fired(FaultKind.JOB_STUCK_QUEUED) == 1
    assert folder.query(waiting) == jobs
    assert folder.query("SELECT state FROM runs") == [("interrupted",)]
    assert folder.query("SELECT held_micro_usd > 0 FROM accounts WHERE path = 'default'") == [(1,)]
    sandbox.provider("sandbox-ideal").cancel(jobs[0][1])  # it would never start
    assert folder.json("resume", folder.newest_run(), "--quiet")["iterations"] == 1
    ((ended,),) = folder.query("SELECT state FROM jobs WHERE token = ?", jobs[0][0])
    assert ended == "cancelled"
    assert folder.query("SELECT held_micro_usd FROM accounts WHERE path = 'default'") == [(0,)]
    assert json.loads(folder.command("reconcile", "--json").stdout) == []


@pytest.mark.campaign
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("first", range(0, 100, 10), ids=lambda first: f"seeds {first} to {first + 9}")
def test_killed_paid_runs(tmp_path: Path, folder: Folder, sandbox: SandboxProcess, first: int) -> None:
    spec = tmp_path / "h2.yaml"
    spec.write_text(SPEC)
    undisturbed = folder.json("run", str(spec), "--quiet")
    for seed in range(first, first + 10):
        resumed = crash(folder, sandbox, spec, seed, rate=0.1)
        assert_same_run(folder, undisturbed, resumed["run_id"], resumed, seed, outcomes=False)
        print(f"seed {seed}: killed under faults, resumed, identical", flush=True)
    assert_books_agree(folder, sandbox)
    assert_telemetry_complete(folder)
