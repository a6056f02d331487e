"""Reading specs: what is accepted, and that every kind of bad input is one line with field and remedy."""

import json
from pathlib import Path

import pytest

from shotwise.errors import SpecError
from shotwise.spec import RunSpec, ShotsExecution, load_spec, validate

H2 = """
version: 1
name: h2
problem: {kind: molecule, geometry: "H 0 0 0; H 0 0 0.7414", active_space: null}
optimizer: {name: adam, learning_rate: 0.1, max_iterations: 200, tolerance: 1.0e-7}
execution: {mode: exact}
budget: {shots: null, usd: null, wall_s: null}
seed: 7
"""


def write(folder: Path, text: str, name: str = "spec.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def refusal(folder: Path, text: str, *overrides: str) -> SpecError:
    with pytest.raises(SpecError) as caught:
        load_spec(write(folder, text), overrides)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 400
    return caught.value


def test_a_spec_round_trips_through_its_canonical_json(tmp_path: Path) -> None:
    spec = load_spec(write(tmp_path, H2))
    assert RunSpec.model_validate_json(spec.canonical_json()) == spec
    assert validate(json.loads(spec.canonical_json())) == spec


def test_plain_python_data_is_accepted_like_json() -> None:
    edges = [[0, 1], [1, 2, 0.5]]
    raw = {"problem": {"kind": "maxcut", "edges": edges}, "ansatz": {"kind": "qaoa"}}
    assert RunSpec.model_validate(raw) == validate(raw)


def test_json_is_accepted(tmp_path: Path) -> None:
    text = json.dumps({"problem": {"kind": "pauli", "terms": {"ZZ": 1.0}}})
    assert load_spec(write(tmp_path, text, "spec.json")).ansatz.kind == "hardware_efficient"


def test_numbers_without_a_decimal_point_are_numbers(tmp_path: Path) -> None:
    assert load_spec(write(tmp_path, H2), ["optimizer.tolerance=1e-9"]).optimizer.tolerance == 1e-9


@pytest.mark.parametrize(
    ("problem", "ansatz"),
    [
        ("{kind: molecule, geometry: H 0 0 0}", "uccsd"),
        ("{kind: maxcut, edges: [[0, 1]]}", "qaoa"),
        ("{kind: pauli, terms: {Z: 1.0}}", "hardware_efficient"),
    ],
)
def test_each_kind_of_problem_has_a_usual_ansatz(tmp_path: Path, problem: str, ansatz: str) -> None:
    assert load_spec(write(tmp_path, f"problem: {problem}")).ansatz.kind == ansatz


def test_overrides_apply_in_order(tmp_path: Path) -> None:
    spec = load_spec(write(tmp_path, H2), ["seed=1", "seed=2", "execution={mode: shots, shots: 100}"])
    assert spec.seed == 2
    assert spec.execution.mode == "shots"


@pytest.mark.parametrize(
    ("override", "field", "value"),
    [
        ("optimizer.max_iterations=0", "optimizer.max_iterations", 0),
        ("optimizer.learning_rate=.nan", "optimizer.learning_rate", None),
        ("optimizer.learning_rate=-.inf", "optimizer.learning_rate", float("-inf")),
        ("execution={mode: shots, shots: -1}", "execution.shots", -1),
        ("execution={mode: shots, shots: 0}", "execution.shots", 0),
        ("execution={mode: shots, shots: 2.5}", "execution.shots", 2.5),
        ("execution={mode: shots, shots: true}", "execution.shots", True),
        ("execution={mode: shots, shots: 9223372036854775808}", "execution.shots", 9223372036854775808),
        ("execution={mode: dream}", "execution.mode", "dream"),
        ("problem.kind=sudoku", "problem.kind", "sudoku"),
        ("problem.gemoetry=H 0 0 0", "problem.gemoetry", "H 0 0 0"),
        ("colour=red", "colour", "red"),
        ("seed=seven", "seed", "seven"),
        ("name=../etc", "name", "../etc"),
        ("ansatz={kind: qaoa}", "spec", None),
        ("problem={kind: maxcut}", "problem", None),
        ("problem={kind: maxcut, edges: [[0, 1, x]]}", "problem.edges.0.2", "x"),
        ("problem={kind: maxcut, edges: [[0, 1, .nan]]}", "problem.edges.0.2", None),
        ("problem={kind: maxcut, edges: [[0]]}", "problem.edges.0.1", None),
        ("problem={kind: maxcut, generator: {name: tree}}", "problem.generator.name", "tree"),
    ],
)
def test_a_bad_field_is_named_with_its_value(
    tmp_path: Path, override: str, field: str, value: object
) -> None:
    error = refusal(tmp_path, H2, "ansatz=null", override)
    assert error.field == field
    if value is not None:
        assert error.value == value


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("optimizer.max_iterations=0", "too small (got 0); give at least 1"),
        ("optimizer.learning_rate=-1", "too small (got -1); give more than 0"),
        ("execution={mode: shots, shots: 9999999999}", "too large (got 9999999999); give at most 1000000000"),
        ("execution={mode: shots, shots: 2.5}", "not a whole number (got 2.5); give one"),
        ("budget.usd=x", "not a number (got 'x'); give one"),
        ("name=7", "not text (got 7); put it in quotes"),
        ("optimizer=3", "not a section (got 3); write {key: value}"),
        ("problem={kind: maxcut, edges: 3}", "not a list (got 3); write [a, b]"),
        ("execution={mode: shots, shots: 9, devices: []}", "too few (got []); give at least 1"),
        ("optimizer.gradient=foo", "use 'auto', 'parameter_shift', 'coordinates' or 'spsa'"),
        ("name=../etc", "not of the right form (got '../etc'); use letters, digits"),
        ("ansatz={kind: rqaoa}", "needs maxcut, qubo or ising, not molecule"),
        ("ansatz={kind: qaoa}", "docs/spec.md"),
        ("optimizer.max_iterations=200.0", "not a whole number (got 200.0); write 200"),
        ("optimizer.max_iterations='200'", "write 200 without quotes"),
        ("optimizer=null", "leave it out for the default; --set 'optimizer={}' resets the file's"),
        ("execution=null", "--set 'execution={mode: exact}' resets"),
        ("seed=null", "not a whole number (got null); leave it out for the default"),
        ("name=wärme", "use letters, digits, . _ -; at most 64, starting with a letter or digit"),
        ("account.tenant=a/b", "use letters, digits, . _ -; at most 64, starting with a letter or digit"),
        ("ansatz={kind: uccsd, start: x}", "use hartree_fock, mp2, ccsd or run:RUN_ID"),
        (
            "execution={mode: exact, shots: 10}",
            "no field of mode: exact (got 10); remove it, or use mode",
        ),
        ("ansatz={kind: adapt, layers: 2}", "or use kind: hardware_efficient or kind: qaoa"),
        ("scan={layer: [1, 2]}", "unknown key (got [1, 2]); did you mean `layers`?"),
        ("execution={mode: shots, shots: 9, shot_polcy: adaptive}", "did you mean `shot_policy`?"),
        ("optimizer.options={b1: x}", "optimizer.options.b1: not a number (got 'x')"),
        (
            "name=a: b",
            "--set: not YAML: mapping values are not allowed here (got 'name=a: b'); put the value in quotes",
        ),
    ],
)
def test_the_remedy_says_what_to_write(tmp_path: Path, override: str, words: str) -> None:
    assert words in str(refusal(tmp_path, H2, "ansatz=null", override))


@pytest.mark.parametrize(
    ("mitigation", "value"), [("[zn]", "'zn'"), ("zn", "'zn'"), ("[zne, 3]", "3"), ("3", "3")]
)
def test_every_choice_of_a_field_that_may_be_a_list_is_told(
    tmp_path: Path, mitigation: str, value: str
) -> None:
    execution = f"execution={{mode: shots, shots: 9, device: sim-lima, mitigation: {mitigation}}}"
    assert str(refusal(tmp_path, H2, execution)) == (
        f"execution.mitigation: not one of the choices (got {value}); "
        "use 'none' or 'auto', or a list of readout, zne, twirling, symmetry"
    )


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (f"{H2}optimiser: {{name: adam}}", "optimiser: unknown key; did you mean `optimizer`?"),
        ("seed: 1", "problem: missing; add it"),
        (f"{H2.replace('mode: exact', 'shots: 9')}", "execution.mode: missing; use one of 'exact', 'shots'"),
        (
            "problem: {terms: {ZZ: 1}}",
            "problem.kind: missing; use one of 'molecule', 'maxcut', 'qubo', 'ising', 'pauli'",
        ),
        (
            "problem: {kind: maxcut, generator: {nodes: 4}}",
            "problem.generator.name: missing; use one of 'random_regular', 'erdos_renyi'",
        ),
        ("", "spec: empty; start with `version: 1` and `problem:`"),
        ("- 1", "spec: not a map (got [1]); start with `version: 1` and `problem:`"),
        ("seed: 1\nseed: 2", "seed: the key appears twice, again on line 2; keep one"),
    ],
)
def test_a_value_that_would_say_nothing_is_left_out(tmp_path: Path, text: str, line: str) -> None:
    assert str(refusal(tmp_path, text)) == line


@pytest.mark.parametrize(
    "text",
    [
        "problem: !!python/object/apply:os.system [true]",
        "problem: !Ref x",
        "a: &x [1]\nb: *x",
        "seed: 1\nseed: 2",
        "seed: [1",
        "- 1",
        "",
        "\x00",
        "1: 2",
        "[" * 100 + "]" * 100,
        "a: " + "[" * 5000 + "]" * 5000,
        "problem: " + "{a: " * 40 + "1" + "}" * 40,
        "x: 9" + "9" * 10000,
    ],
)
def test_hostile_text_is_refused(tmp_path: Path, text: str) -> None:
    refusal(tmp_path, text)


def test_a_huge_file_is_refused_without_being_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.yaml"
    with path.open("wb") as stream:
        stream.truncate(50 * 1024 * 1024)
    with pytest.raises(SpecError, match="larger than 1 MiB"):
        load_spec(path)


@pytest.mark.parametrize(
    ("name", "problem"),
    [("missing.yaml", "no such file"), (".", "not a regular file"), (300 * "a", "cannot be read")],
)
def test_a_spec_that_is_no_file_is_refused(tmp_path: Path, name: str, problem: str) -> None:
    with pytest.raises(SpecError, match=f"^spec: {problem}"):
        load_spec(tmp_path / name)


@pytest.mark.parametrize(
    "name", ["../outside.txt", "/etc/passwd", "link.txt", "a\0b", "folder", "missing.txt", 300 * "a"]
)
def test_a_path_outside_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    inside = tmp_path / "inside"
    (inside / "folder").mkdir(parents=True)
    (tmp_path / "outside.txt").write_text("2\n0 1\n")
    (inside / "link.txt").symlink_to(tmp_path / "outside.txt")
    spec = json.dumps({"problem": {"kind": "maxcut", "file": name}})
    error = refusal(inside, spec)
    assert error.field == "problem.file"


def test_files_are_read_into_the_spec(tmp_path: Path) -> None:
    (tmp_path / "graph.txt").write_text("3\n0 1 0.5  # an edge\n\n1 2\n")
    (tmp_path / "h2.xyz").write_text("2\nhydrogen\nH 0 0 0\nH 0 0 0.74\n")
    (tmp_path / "ising.json").write_text('{"ZZ": 1, "XI": 0.5}')
    graph = load_spec(write(tmp_path, "problem: {kind: maxcut, file: graph.txt}")).problem
    assert graph.model_dump(exclude_none=True) == {
        "kind": "maxcut",
        "nodes": 3,
        "edges": ((0, 1, 0.5), (1, 2, 1.0)),
    }
    molecule = load_spec(write(tmp_path, "problem: {kind: molecule, file: h2.xyz}")).problem
    assert molecule.model_dump()["geometry"] == "H 0 0 0; H 0 0 0.74"
    pauli = load_spec(write(tmp_path, "problem: {kind: pauli, file: ising.json}")).problem
    assert pauli.model_dump()["terms"] == {"ZZ": 1.0, "XI": 0.5}


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("maxcut", ""),
        ("maxcut", "0 1\n"),
        ("maxcut", "-3\n0 1\n"),
        ("maxcut", "3\n0 1 2 3\n"),
        ("maxcut", "3\n0 one\n"),
        ("qubo", "2\n0\n"),
        ("ising", "x\n"),
        ("molecule", "two\n\nH 0 0 0\n"),
        ("molecule", "3\n\nH 0 0 0\n"),
        ("pauli", "[1, 2]"),
        ("pauli", '{"Z": "x"}'),
        ("pauli", "[" * 100_000),
    ],
)
def test_a_malformed_file_is_refused(tmp_path: Path, kind: str, content: str) -> None:
    (tmp_path / "data").write_text(content)
    error = refusal(tmp_path, f"problem: {{kind: {kind}, file: data}}")
    assert error.field.startswith("problem.file")


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["execution={mode: shots, shots: 100, device: sim-lima, policy: cheapest}"], "routes over"),
        (["execution={mode: shots, shots: 100, device: sim-lima, devices: [sim-oslo]}"], "routes over"),
        (["execution={mode: shots, shots: 9, policy: null, devices: [sim-oslo]}"], "add policy: balanced"),
        (["optimizer.gradient=spsa"], "how sampled gradients"),
        (
            ["execution={mode: shots, shots: 100}", "optimizer.name=rotosolve", "optimizer.gradient=spsa"],
            "takes no gradient",
        ),
        (
            ["execution={mode: shots, shots: 100}", "optimizer.name=gcans", "optimizer.gradient=coordinates"],
            "by parameter_shift",
        ),
        (["execution={mode: shots, shots: 5000}", "optimizer.name=gcans"], "add policy: adaptive"),
        (
            ["execution={mode: shots, shots: 5000, policy: adaptive}", "ansatz={kind: adapt}"],
            "adapt takes fixed shots",
        ),
        (["execution={mode: shots, shots: 100, allow_bad_calibration: true}"], "has no calibration"),
        (["execution={mode: shots, shots: 100, readout_from: snapshot}"], "has no calibration"),
        (["optimizer.schedule={decay_rate: 0.9}"], "has no decay_rate"),
        (["optimizer.schedule={kind: linear, warmup_iterations: 3}"], "has no warmup_iterations"),
    ],
)
def test_what_would_have_no_effect_is_refused(tmp_path: Path, overrides: list[str], words: str) -> None:
    assert words in str(refusal(tmp_path, H2, *overrides))


def test_what_an_earlier_version_entered_is_read_as_it_was() -> None:
    execution = {"mode": "shots", "shots": 100, "device": "jax", "policy": None, "devices": ["sim-lima"]}
    entered = {"problem": {"kind": "pauli", "terms": {"ZZ": 1.0}}, "execution": execution}
    spec = validate(entered)
    assert isinstance(spec.execution, ShotsExecution)
    assert spec.execution.policy is None
    assert validate(json.loads(spec.canonical_json())) == spec


def test_devices_alone_are_routed_over(tmp_path: Path) -> None:
    path = write(tmp_path, H2)
    spec = load_spec(path, ["execution={mode: shots, shots: 100, devices: [sim-lima, sim-oslo]}"])
    assert isinstance(spec.execution, ShotsExecution)
    assert (spec.execution.policy, spec.execution.devices) == ("balanced", ("sim-lima", "sim-oslo"))
    adaptive = load_spec(path, ["execution={mode: shots, policy: adaptive, device: sim-lima}"])
    assert isinstance(adaptive.execution, ShotsExecution)
    assert (adaptive.execution.policy, adaptive.execution.device) == (None, "sim-lima")


@pytest.mark.parametrize("named", [{"devices": ["sim-lima"] * 2}, {"mitigation": ["readout"] * 2}])
def test_a_name_that_is_given_twice_is_refused(named: dict) -> None:
    (field,), problem = named, {"kind": "molecule", "geometry": "H 0 0 0; H 0 0 1"}
    with pytest.raises(SpecError, match=rf"execution\.{field}: .* is named twice"):
        validate({"problem": problem, "execution": {"mode": "shots", "shots": 99, **named}})
