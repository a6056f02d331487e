"""The product as a user meets it: commands in, results, exit codes and records out."""

import json
import os
import signal
import sqlite3
import time
from pathlib import Path

import pytest

from flows.cli import main
from tests.simulation.command import Folder

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return Folder(tmp_path_factory.mktemp("state") / "home")


@pytest.fixture(scope="module")
def h2(folder: Folder) -> dict:
    return folder.json("run", str(EXAMPLES / "h2.yaml"), "--quiet")


@pytest.fixture(scope="module")
def cut(folder: Folder) -> dict:
    return folder.json(
        "run", str(EXAMPLES / "maxcut_3regular.yaml"), "--set", "optimizer.max_iterations=40", "--quiet"
    )


def rows(database: Path, sql: str, *parameters: object) -> list[tuple]:
    connection = sqlite3.connect(database)
    try:
        return connection.execute(sql, parameters).fetchall()
    finally:
        connection.close()


def processes_of(folder: Folder) -> list[str]:
    """Command lines of live processes that know the state folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            environment, command = (entry / "environ").read_bytes(), (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if str(folder.home).encode() in environment + command:
            found.append(command.decode(errors="replace"))
    return found


def in_this_process(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str
) -> tuple[object, str]:
    """A command that fails before it starts anything: its exit code, and what it said of that."""
    for name, value in folder.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.argv", ["shotwise", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code, capsys.readouterr().err


def test_h2_is_found_from_its_geometry(h2: dict) -> None:
    assert h2["state"] == "completed"
    assert abs(h2["error"]) < 1e-5
    assert h2["reference_energy"] == pytest.approx(-1.13727017, abs=1e-7)
    assert h2["cost_usd"] == 0
    assert h2["shots"] == 0
    assert h2["fidelity"] == pytest.approx(1, abs=1e-4)
    wanted = "run_id state reason energy energy_std_error reference_energy error iterations evaluations shots"
    wanted += " cost_usd parameters_sha256 mlflow_run_id prefect_flow_run_id"
    assert set(wanted.split()) <= set(h2)


def test_the_optimal_cut_is_among_the_samples(cut: dict) -> None:
    assert cut["best_cut_value"] == cut["reference_cut_value"] == 16
    assert cut["approximation_ratio"] == 1
    assert len(cut["bitstring"]) == 12
    assert 0 < cut["cut_value"] <= 16


def test_every_task_run_is_in_prefects_database_in_its_final_state(
    folder: Folder, h2: dict, cut: dict
) -> None:
    database = folder.home / "prefect" / "prefect.db"
    flow_runs = dict(rows(database, "SELECT id, state_type FROM flow_run"))
    assert flow_runs[h2["prefect_flow_run_id"]] == "COMPLETED"
    assert set(flow_runs.values()) == {"COMPLETED"}
    states = rows(
        database, "SELECT name, state_type FROM task_run WHERE flow_run_id = ?", h2["prefect_flow_run_id"]
    )
    assert {state for _, state in states} == {"COMPLETED"}
    names = {name.split()[0] for name, _ in states}
    assert {"quantum-segment", "classical-commit", "quantum-final", "classical-finish"} == names
    segments = sum(name.startswith("quantum-segment") for name, _ in states)
    assert segments == sum(name.startswith("classical-commit") for name, _ in states) >= 1


def test_the_prefect_ui_has_progress_summary_and_link(folder: Folder, h2: dict) -> None:
    artifacts = rows(
        folder.home / "prefect" / "prefect.db",
        "SELECT type, key, data FROM artifact WHERE flow_run_id = ?",
        h2["prefect_flow_run_id"],
    )
    kinds = sorted((kind, key) for kind, key, _ in artifacts)
    assert kinds == [
        ("markdown", "shotwise-mlflow-run"),
        ("markdown", "shotwise-summary"),
        ("progress", None),
    ]
    text = " ".join(str(data) for *_, data in artifacts)
    assert h2["mlflow_run_id"] in text
    assert f"{h2['energy']:.8f}" in text


def test_mlflow_has_metrics_parameters_and_artifacts(folder: Folder, h2: dict) -> None:
    store, run = folder.home / "mlflow" / "mlflow.db", h2["mlflow_run_id"]
    steps = rows(store, "SELECT key, count(*) FROM metrics WHERE run_uuid = ? GROUP BY key", run)
    counts = dict(steps)
    for key in ("energy", "energy_std_error", "gradient_norm", "fidelity", "shots", "cost_usd"):
        assert counts[key] == h2["iterations"]
    ((best,),) = rows(
        store, "SELECT value FROM latest_metrics WHERE run_uuid = ? AND key = 'energy_best'", run
    )
    assert best == h2["energy"]
    params = dict(rows(store, "SELECT key, value FROM params WHERE run_uuid = ?", run))
    assert params["optimizer.name"] == "adam"
    assert params["seed"] == "7"
    tags = dict(rows(store, "SELECT key, value FROM tags WHERE run_uuid = ?", run))
    assert tags["shotwise.run_id"] == h2["run_id"]
    assert tags["prefect.flow_run_id"] == h2["prefect_flow_run_id"]
    assert tags["version.jax"]
    ((status,),) = rows(store, "SELECT status FROM runs WHERE run_uuid = ?", run)
    assert status == "FINISHED"
    (artifacts,) = (folder.home / "mlflow" / "artifacts").glob(f"*/{run}/artifacts")
    names = {path.name for path in artifacts.iterdir()}
    assert names == {
        "spec.json", "versions.json", "result.json", "parameters.json", "iterations.csv", "convergence.png",
        "ansatz",
    }  # fmt: skip
    assert len(json.loads((artifacts / "parameters.json").read_text())) == h2["iterations"]


def test_runs_show_and_export_tell_the_same(folder: Folder, h2: dict, cut: dict) -> None:
    listed = folder.json("runs")
    assert [r["run_id"] for r in listed] == [h2["run_id"], cut["run_id"]]
    assert listed[0] == {
        k: h2[k] for k in ("run_id", "name", "state", "reason", "energy", "energy_std_error", "unit")
    }
    shown = folder.json("show", h2["run_id"])
    assert shown["spec"]["problem"]["geometry"] == "H 0 0 0; H 0 0 0.7414"
    assert shown["parameters_sha256"] == h2["parameters_sha256"]
    table = folder.command("export", h2["run_id"], "--csv").stdout.splitlines()
    assert table[0].startswith("iteration,energy,energy_std_error")
    assert len(table) == 1 + h2["iterations"]


def test_nothing_is_left_running(folder: Folder, h2: dict, cut: dict) -> None:
    assert processes_of(folder) == []


def test_the_terminal_shows_no_traceback_and_where_to_look_next(folder: Folder) -> None:
    done = folder.command("run", str(EXAMPLES / "h2.yaml"), "--set", "optimizer.max_iterations=3")
    assert done.returncode == 0
    assert "Traceback" not in done.stderr + done.stdout
    assert all(line.startswith(("building", "starting", "h2-")) for line in done.stderr.splitlines() if line)
    for wanted in ("energy", "reference (FCI)", "shotwise show h2-", "shotwise ui", ".png"):
        assert wanted in done.stdout


@pytest.mark.services
def test_an_interrupted_run_says_how_to_resume_and_does(folder: Folder) -> None:
    known = len(folder.json("runs"))
    process = folder.start(
        "run", str(EXAMPLES / "h2.yaml"), "--set", "execution={mode: shots, shots: 400}",
        "--set", "problem.geometry=Li 0 0 0; H 0 0 1.6", "--set", "optimizer.max_iterations=30", "--quiet",
        "--set", "problem.active_space={electrons: 2, orbitals: 3}",  # many segments of a few iterations
    )  # fmt: skip
    while (
        len(folder.query("SELECT run_id FROM runs")) == known or not folder.iterations_done()
    ) and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    run_id = folder.newest_run()
    assert folder.query("SELECT state, reason FROM runs WHERE run_id = ?", run_id) == [
        ("interrupted", "interrupted")
    ]
    stopped_at = folder.iterations_done(run_id)
    done = folder.json("resume", run_id, "--quiet")
    assert done["state"] == "completed"
    assert done["iterations"] == folder.iterations_done(run_id) > stopped_at
    flow_states = rows(
        folder.home / "prefect" / "prefect.db", "SELECT state_type FROM flow_run ORDER BY created"
    )
    assert [s for (s,) in flow_states][-2:] == ["CANCELLED", "COMPLETED"]


@pytest.mark.parametrize(
    ("override", "code", "words"),
    [
        ("problem.geometry=H 0 0 0; Xx 0 0 1", 2, ("problem.geometry", "Xx")),
        ("problem.geometry=H 0 0 0; H 0 0 0.01", 2, ("problem.geometry",)),
        ("problem.geometry=H 0 0 __import__('os'); H 0 0 1", 2, ("problem.geometry",)),
        ("problem.spin=1", 2, ("problem.spin", "1")),
        ("problem.basis=/etc/passwd", 2, ("problem.basis",)),
        ("problem.basis=no-such-basis", 2, ("problem.basis", "no-such-basis")),
        ("problem.active_space={electrons: 2, orbitals: 99}", 2, ("problem.active_space",)),
        ("execution={mode: shots, shots: 1}", 2, ("execution.shots", "at least")),
        ("execution={mode: exact, device: teapot}", 3, ("execution.device", "teapot")),
        ("optimizer.name=gradient_ascent", 2, ("optimizer.name", "gradient_ascent")),
        ("problem={kind: maxcut, edges: [[0, 0]]}", 2, ("problem.edges",)),
        ("problem={kind: maxcut, edges: []}", 2, ("problem.edges",)),
    ],
)
def test_a_mistake_is_one_clear_line_and_starts_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    override: str,
    code: int,
    words: tuple[str, ...],
) -> None:
    folder = Folder(tmp_path / "home")
    command = ("validate", str(EXAMPLES / "h2.yaml"), "--set", "ansatz=null", "--set", override)
    ended_with, said = in_this_process(folder, monkeypatch, capsys, *command)
    assert ended_with == code
    (line,) = said.strip().splitlines()
    assert line.startswith("error: ")
    for word in words:
        assert word in line
    assert not folder.home.exists()


def test_run_refuses_what_validate_refuses_and_leaves_nothing(folder: Folder) -> None:
    before = folder.query("SELECT count(*) FROM runs")
    done = folder.command("run", str(EXAMPLES / "h2.yaml"), "--set", "problem.spin=1", "--json", "--quiet")
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1
    assert folder.query("SELECT count(*) FROM runs") == before
    assert processes_of(folder) == []


@pytest.mark.parametrize(
    "arguments",
    ["show nope", "resume nope", "export nope --csv", "run --frobnicate", "run absent.yaml"],
)
def test_an_unknown_run_and_an_unknown_option_exit_with_2(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: str
) -> None:
    code, said = in_this_process(folder, monkeypatch, capsys, *arguments.split())
    assert code == 2
    assert "Traceback" not in said
    assert said
