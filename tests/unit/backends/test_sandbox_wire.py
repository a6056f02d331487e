"""Plans and outcomes survive the wire exactly; what cannot be meant does not get through."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from backends.sandbox.wire import OutcomeMessage, PlanMessage
from measurement import Bases, ExecutionPlan, Outcome
from problems.circuit import Circuit, Rotation


@st.composite
def plans(draw: st.DrawFn) -> ExecutionPlan:
    n = draw(st.integers(1, 24))
    masks = st.integers(0, (1 << n) - 1)
    finite = st.floats(allow_nan=False, allow_infinity=False)
    rows = []
    for _ in range(draw(st.integers(0, 4))):
        x, z = draw(masks), draw(masks)
        excites = draw(st.booleans()) and x
        parameter = draw(st.integers(-1, 3))
        source = draw(masks) & x if excites else None
        rows.append(Rotation(x, z & ~x if excites else z, source, parameter, draw(finite), draw(finite)))
    circuit = Circuit.build(n, rows, initial_state=draw(masks), initial_plus=draw(st.booleans()))
    points, bases = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    angles = np.array([[draw(finite) for _ in rows] for _ in range(points)]).reshape(points, len(rows))
    jobs = draw(
        st.lists(
            st.tuples(st.integers(0, points - 1), st.integers(0, bases - 1), st.integers(1, 10**6)),
            min_size=1,
            max_size=5,
        )
    )
    bases_xz = [np.array([draw(masks) for _ in range(bases)]) for _ in range(2)]
    seed = draw(st.lists(st.integers(0, 2**128), min_size=1, max_size=4))
    return ExecutionPlan(circuit, angles, Bases(*bases_xz), *np.array(jobs).T, tuple(seed))


def arrays(plan: ExecutionPlan) -> dict[str, np.ndarray]:
    found = {name: value for name, value in vars(plan.circuit).items() if isinstance(value, np.ndarray)}
    found |= {"bases_x": plan.bases.x, "bases_z": plan.bases.z}
    return found | {name: value for name, value in vars(plan).items() if isinstance(value, np.ndarray)}


@given(plans())
def test_a_plan_survives_the_wire_to_the_bit(plan: ExecutionPlan) -> None:
    message = PlanMessage.of(plan)
    back = PlanMessage.model_validate_json(message.model_dump_json())
    found = back.plan()
    for name, value in arrays(plan).items():
        assert arrays(found)[name].tobytes() == value.tobytes(), name
    for name in ("n_qubits", "n_parameters", "initial_state", "initial_plus"):
        assert getattr(found.circuit, name) == getattr(plan.circuit, name)
    assert found.bases.cliffords == plan.bases.cliffords
    assert found.seed == plan.seed
    assert back.sha256 == message.sha256


def plain_message() -> dict[str, object]:
    circuit = Circuit.build(3, [Rotation(3, 4, 1, 0), Rotation(1, 2, None, 1)], initial_state=1)
    rows = np.array([[0, 0, 10]])
    bases = Bases(np.array([1]), np.array([0]))
    plan = ExecutionPlan(circuit, circuit.angles(np.zeros((1, 2))), bases, *rows.T, (1, 2))
    return json.loads(PlanMessage.of(plan).model_dump_json())


def floats(*values: float) -> str:
    return base64.b64encode(np.array(values, dtype="<f8").tobytes()).decode()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n_qubits", 0),
        ("n_qubits", 25),
        ("n_qubits", 2**63),
        ("n_qubits", "3"),
        ("n_qubits", 3.0),
        ("n_qubits", True),
        ("n_qubits", None),
        ("n_parameters", 1),
        ("initial_state", 8),
        ("initial_state", -1),
        ("x", [3]),
        ("x", [8, 1]),
        ("x", [0, 1]),
        ("z", [2, 2]),
        ("z", [4, -1]),
        ("source", [4, 0]),
        ("excitation", [1, 0]),
        ("excitation", [True]),
        ("parameter", [-2, 0]),
        ("parameter", [0, 2**40]),
        ("scale", floats(1.0)),
        ("scale", floats(1.0, float("nan"))),
        ("offset", floats(1.0, float("inf"))),
        ("angles", "not base64!"),
        ("angles", floats(1.0, 2.0, 3.0)),
        ("angles", "é"),
        ("points", 0),
        ("points", 2),
        ("bases_x", []),
        ("bases_x", [8]),
        ("bases_z", [0, 0]),
        ("point", [1]),
        ("point", []),
        ("basis", [1]),
        ("shots", [0]),
        ("shots", [-1]),
        ("shots", [2**63]),
        ("shots", [10, 10]),
        ("seed", []),
        ("seed", [-1]),
        ("seed", [2**256]),
        ("extra", 1),
    ],
)
def test_a_message_that_cannot_be_meant_is_refused(field: str, value: object) -> None:
    message = plain_message()
    PlanMessage.model_validate_json(json.dumps(message))
    message[field] = value
    with pytest.raises(ValidationError):
        PlanMessage.model_validate_json(json.dumps(message))


def test_an_outcome_survives_the_wire() -> None:
    outcome = Outcome.from_rows(
        [(np.array([0, 3]), np.array([4, 6])), (np.array([]), np.array([])), (np.array([7]), np.array([1]))]
    )
    message = OutcomeMessage.model_validate_json(OutcomeMessage.of(outcome).model_dump_json())
    assert message.outcome().to_bytes() == outcome.to_bytes()


@pytest.mark.parametrize(
    "message",
    [
        {"states": [0], "counts": [], "offsets": [0, 1]},
        {"states": [0], "counts": [0], "offsets": [0, 1]},
        {"states": [-1], "counts": [1], "offsets": [0, 1]},
        {"states": [0], "counts": [1], "offsets": [0, 2]},
        {"states": [0], "counts": [1], "offsets": [1, 1]},
        {"states": [0, 1], "counts": [1, 1], "offsets": [0, 2, 1, 2]},
        {"states": [], "counts": [], "offsets": []},
        {"states": [0.5], "counts": [1], "offsets": [0, 1]},
    ],
)
def test_an_outcome_that_cannot_be_is_refused(message: dict[str, list[int]]) -> None:
    with pytest.raises(ValidationError):
        OutcomeMessage.model_validate_json(json.dumps(message))


@pytest.mark.parametrize(
    ("states", "counts", "offsets", "reason"),
    [
        ([0], [10], [0, 1], None),
        ([], [], [0, 0], None),
        ([0], [10], [0, 1, 1], "rows"),
        ([8], [10], [0, 1], "qubits"),
        ([0, 1], [10, 1], [0, 2], "more shots"),
    ],
)
def test_an_outcome_is_checked_against_its_plan(
    states: list[int], counts: list[int], offsets: list[int], reason: str | None
) -> None:
    plan = PlanMessage.model_validate_json(json.dumps(plain_message())).plan()
    fault = OutcomeMessage(states=states, counts=counts, offsets=offsets).fault_against(plan)
    assert (fault is None) if reason is None else (fault is not None and reason in fault)


def test_rotations_of_a_basis_survive_json_as_the_service_parses_it() -> None:
    circuit = Circuit.build(2, [Rotation(0b11, 0, 0b01, 0)])
    zeros, cliffords = np.zeros(1, dtype=np.int64), (((1, 2), (2, 1)),)
    bases = Bases(zeros, zeros, cliffords)
    plan = ExecutionPlan(circuit, np.array([[0.5]]), bases, zeros, zeros, np.array([10]), (1,))
    parsed = json.loads(PlanMessage.of(plan).model_dump_json())
    assert PlanMessage.model_validate(parsed).plan().bases.cliffords == cliffords
