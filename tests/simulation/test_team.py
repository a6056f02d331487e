"""A team's services on one machine, by the commands that a person gives: up, submit, status, cancel, down."""

import json
import socket
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from pydantic import SecretStr
from sqlalchemy import select

from backends.fleet import SANDBOX_URL
from backends.sandbox.connection import KEY_VARIABLE
from backends.sandbox.process import SandboxProcess
from ledger import Database, Journal, Ledger
from ledger.tables import submissions
from shotwise.home import Home
from tests.simulation.command import Folder

H2 = """
name: h2
problem: {kind: molecule, geometry: "H 0 0 0; H 0 0 0.7414"}
optimizer: {name: lbfgs, max_iterations: 20}
seed: 7
"""
QUEUED = """
name: queued
problem: {kind: molecule, geometry: "H 0 0 0; H 0 0 0.7414"}
optimizer: {name: spsa, max_iterations: 1000, tolerance: 0}
execution: {mode: shots, shots: 100, device: sandbox-slow}
budget: {usd: 1000}
seed: 7
"""
PAID = """
name: paid
problem: {kind: molecule, geometry: "H 0 0 0; H 0 0 0.7414"}
optimizer: {name: spsa, max_iterations: 15, tolerance: 0}
execution: {mode: shots, shots: 100, device: sandbox-noisy}
budget: {usd: 1000}
seed: 7
"""
KEY = SecretStr("test-key-of-the-team-suite")
_WAIT_S_MAX = 240
_AWAY_S = 60


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def team() -> Iterator[Folder]:
    """Outside of pytest's folder, which every session of pytest closes to PostgreSQL's user."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="shotwise-")))
        sandbox = stack.enter_context(SandboxProcess(folder / "sandbox", queue_scale=1, key=KEY))
        told = {KEY_VARIABLE: KEY.get_secret_value(), SANDBOX_URL: sandbox.url}
        yield from _team(Folder(folder / "home", extra=told))


def _team(team: Folder) -> Iterator[Folder]:
    ports = ("--prefect-port", str(free_port()), "--mlflow-port", str(free_port()))
    assert team.command("budget", "set", "before", "--usd", "5").returncode == 0
    try:
        done = team.command("up", *ports)
        assert done.returncode == 0, done.stderr
        assert "carried over from shotwise.db: 0 runs, 1 account" in done.stderr
        yield team
    finally:
        down = team.command("down")
    assert down.returncode == 0, down.stderr
    ours = str(team.home)
    assert [p for p in psutil.process_iter(["cmdline"]) if ours in " ".join(p.info["cmdline"] or ())] == []


def addresses(team: Folder) -> dict:
    return json.loads((team.home / "team.json").read_text())


def status_of(team: Folder, run_id: str) -> dict:
    return next(row for row in team.json("status", "--all") if row["run_id"] == run_id)


def wait_for(team: Folder, run_id: str, *states: str, iterations: int = 0) -> dict:
    def is_there() -> bool:
        with books(team) as database:
            journal = Journal(database)
            return journal.run(run_id).state in states and len(journal.iterations(run_id)) >= iterations

    wait_until(is_there, f"{run_id} in state {states}; see the logs in {team.home / 'logs'}")
    return status_of(team, run_id)


@contextmanager
def books(team: Folder) -> Iterator[Database]:
    """Journal and ledger, to look into often: a command takes a second of a core that the team needs."""
    database = Database(Home(team.home).database_url)
    try:
        yield database
    finally:
        database.close()


def wait_until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _WAIT_S_MAX
    while not holds():
        assert time.monotonic() < deadline, f"never came: {what}"
        time.sleep(0.5)


def anything_is_held(team: Folder) -> bool:
    with books(team) as database:
        return any(balance.held for balance in Ledger(database).balances())


def of_the_ui(team: Folder) -> list[str]:
    """Runs of the deployment `scan/on-demand`."""
    with books(team) as database, database.read() as connection:
        query = select(submissions.c.run_id).where(submissions.c.deployment == "scan/on-demand")
        return list(connection.execute(query).scalars())


def flow_runs(team: Folder, run_id: str) -> list[dict]:
    """As the UI asks for them."""
    wanted = {"flow_runs": {"tags": {"all_": [run_id]}}, "sort": "EXPECTED_START_TIME_ASC"}
    return ask(team, "flow_runs/filter", wanted)


def ask(team: Folder, path: str, told: dict | None = None) -> Any:
    """Ask Prefect's server as the UI does; by POST where it is told something."""
    url = f"{addresses(team)['prefect_api_url']}/{path}"
    headers = {"Content-Type": "application/json", **csrf(team)}
    body = None if told is None else json.dumps(told).encode()
    with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=60) as answer:
        return json.load(answer)


def csrf(team: Folder) -> dict[str, str]:
    with urllib.request.urlopen(
        f"{addresses(team)['prefect_api_url']}/csrf-token?client=test", timeout=30
    ) as answer:
        return {"Prefect-Csrf-Client": "test", "Prefect-Csrf-Token": json.load(answer)["token"]}


@pytest.mark.services
@pytest.mark.timeout(600)
def test_a_submitted_run_is_driven_and_seen(tmp_path: Path, team: Folder) -> None:
    spec = tmp_path / "h2.yaml"
    spec.write_text(H2)
    run_id = team.json("submit", str(spec), "--queue", "critical")["run_id"]
    row = wait_for(team, run_id, "completed", "failed")
    assert (row["state"], row["queue"]) == ("completed", "critical")
    shown = team.json("show", run_id)
    assert shown["energy"] == pytest.approx(-1.13727017, abs=1e-6)
    (seen,) = flow_runs(team, run_id)
    assert seen["work_queue_name"] == "critical"

    def tracked_id() -> str | None:
        with books(team) as database:
            return Journal(database).run(run_id).mlflow_run_id

    wait_until(lambda: bool(tracked_id()), "the run in MLflow")
    url = f"{addresses(team)['mlflow_url']}/api/2.0/mlflow/runs/get?run_id={tracked_id()}"
    with urllib.request.urlopen(url, timeout=30) as answer:
        tracked = json.load(answer)["run"]
    assert tracked["info"]["run_name"] == run_id


@pytest.mark.services
@pytest.mark.timeout(300)
def test_a_limit_from_before_the_team_holds(team: Folder) -> None:
    (account,) = team.json("budget", "show", "before")
    assert account["limit_micro_usd"] == 5_000_000
    assert team.json("budget", "entries", "before")[0]["kind"] == "limit"


@pytest.mark.services
@pytest.mark.timeout(600)
def test_a_driven_run_is_cancelled(tmp_path: Path, team: Folder) -> None:
    spec = tmp_path / "queued.yaml"
    spec.write_text(QUEUED)
    run_id = team.json("submit", str(spec))["run_id"]
    wait_for(team, run_id, "running")
    done = team.command("cancel", run_id)
    assert (done.returncode, done.stdout.strip()) == (0, f"{run_id} cancelled"), done.stderr
    assert {account["held"]["micro_usd"] for account in team.json("budget", "show")} <= {0}
    assert team.command("reconcile").stdout.strip() == "0 differences"
    assert team.command("cancel", run_id).returncode == 0
    refused = team.command("resume", run_id)
    assert refused.returncode == 3
    assert "was cancelled" in refused.stderr
    wait_until(lambda: flow_runs(team, run_id)[0]["state_type"] == "CANCELLED", "the flow run's end")


@pytest.mark.services
@pytest.mark.timeout(600)
def test_a_scan_that_prefects_ui_started_and_cancelled_ends_with_its_point(team: Folder) -> None:
    """The runner stops the process and overwrites the state that it leaves; the journal says the same."""
    scan = {"ansatz": {"kind": "uccsd"}, "scan": {"bond": [0, 1], "from": 0.7, "to": 0.8, "points": 2}}
    deployment = ask(team, "deployments/name/scan/on-demand")["id"]
    parameters = {"spec": {**yaml.safe_load(QUEUED), **scan}}
    asked = ask(team, f"deployments/{deployment}/create_flow_run", {"parameters": parameters})["id"]
    wait_until(lambda: bool(of_the_ui(team)), "the run that Prefect's UI asked for")
    (run_id,) = of_the_ui(team)
    wait_until(lambda: anything_is_held(team), "a reservation")
    ask(team, f"flow_runs/{asked}/set_state", {"state": {"type": "CANCELLING", "name": "Cancelling"}})
    wait_for(team, run_id, "cancelled")
    assert team.json("show", f"{run_id}.000")["state"] == "cancelled"
    assert {account["held"]["micro_usd"] for account in team.json("budget", "show")} <= {0}
    assert team.command("reconcile").stdout.strip() == "0 differences"
    assert flow_runs(team, run_id) == [], "nobody had to go on with it"

    def state_of_flow_run() -> dict:
        return ask(team, f"flow_runs/{asked}")["state"]

    wait_until(lambda: state_of_flow_run()["type"] != "CANCELLING", "the end of the flow run")
    state = state_of_flow_run()
    assert (state["type"], state["name"]) == ("CANCELLED", "Cancelled")


@pytest.mark.services
@pytest.mark.timeout(600)
def test_a_second_up_is_harmless_and_forged_requests_are_refused(team: Folder) -> None:
    records = {path.name: path.read_text() for path in (team.home / "team").glob("*.json")}
    done = team.command("up")
    assert done.returncode == 0, done.stderr
    assert {path.name: path.read_text() for path in (team.home / "team").glob("*.json")} == records
    url = f"{addresses(team)['prefect_api_url']}/flow_runs/filter"
    request = urllib.request.Request(url, b"{}", {"Content-Type": "application/json"})
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=30)
    assert refused.value.code == 403
    refused.value.close()


@pytest.mark.campaign
@pytest.mark.timeout(600)
def test_what_is_paused_in_prefect_is_named_by_up_and_stays_so(team: Folder) -> None:
    deployment = ask(team, "deployments/name/qaoa/maxcut-hourly")["id"]
    ask(team, f"deployments/{deployment}/pause_deployment", {})
    (team.home / "team" / "deployments.sha256").unlink()  # as after an update
    done = team.command("up")
    assert done.returncode == 0, done.stderr
    assert "paused    qaoa/maxcut-hourly: resume" in done.stdout
    assert ask(team, f"deployments/{deployment}")["paused"]
    ask(team, f"deployments/{deployment}/resume_deployment", {})
    assert "paused" not in team.command("up").stdout


@pytest.mark.services
@pytest.mark.timeout(300)
def test_a_taken_port_is_one_clear_line(team: Folder) -> None:
    with tempfile.TemporaryDirectory(prefix="shotwise-") as folder:
        taken = addresses(team)["prefect_api_url"].removesuffix("/api").rpartition(":")[2]
        done = Folder(Path(folder) / "home").command("up", "--prefect-port", taken)
    assert done.returncode == 3
    assert len(done.stderr.strip().splitlines()) == 1
    assert "--prefect-port" in done.stderr


@pytest.mark.services
@pytest.mark.timeout(300)
def test_beyond_loopback_without_credentials_nothing_starts() -> None:
    with tempfile.TemporaryDirectory(prefix="shotwise-") as folder:
        done = Folder(Path(folder) / "home").command("up", "--host", "0.0.0.0")
        assert not (Path(folder) / "home" / "team").exists()
    assert done.returncode == 3
    assert "PREFECT_SERVER_API_AUTH_STRING" in done.stderr


@pytest.mark.campaign
@pytest.mark.timeout(1200)
def test_paid_work_outlives_prefects_server(tmp_path: Path, team: Folder) -> None:
    spec = tmp_path / "paid.yaml"
    spec.write_text(PAID)
    run_id = team.json("submit", str(spec))["run_id"]
    before = wait_for(team, run_id, "running", iterations=1)["iterations"]
    record = json.loads((team.home / "team" / "prefect.json").read_text())
    psutil.Process(record["pid"]).kill()
    time.sleep(_AWAY_S)
    assert status_of(team, run_id)["state"] in ("running", "completed")
    after = status_of(team, run_id)["iterations"]
    assert after > before, "paid work goes on without the server"
    assert team.command("up").returncode == 0
    assert wait_for(team, run_id, "completed", "failed")["state"] == "completed"
    assert team.command("reconcile").stdout.strip() == "0 differences"
    assert len(flow_runs(team, run_id)) == 1
