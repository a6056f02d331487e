"""An optimised ansatz survives storage to the last bit, and nothing else is taken for one."""

import json

import numpy as np
import pytest

from backends.jax_device import JaxDevice
from shotwise.errors import SpecError
from shotwise.spec import validate
from tasks.ansatz_record import OptimizedAnsatz, ansatz_json
from tasks.prepare import prepare
from tasks.prepared import Prepared
from tasks.result import FinalEvaluation
from tasks.state import initial


@pytest.fixture(scope="module")
def prepared() -> Prepared:
    return prepare(validate({"problem": {"kind": "molecule", "geometry": "H 0 0 0; H 0 0 0.7414"}}))


@pytest.fixture(scope="module")
def text(prepared: Prepared) -> str:
    parameters = np.array([0.1, -1 / 3, np.pi])[: prepared.stage().circuit.n_parameters]
    found = ansatz_json(
        prepared, "run-1", initial(prepared), FinalEvaluation(parameters, -1.1, 0.01, None, None, 1, 0)
    )
    assert found is not None
    return found


def test_the_same_circuit_at_the_same_parameters_has_the_same_energy(prepared: Prepared, text: str) -> None:
    back = OptimizedAnsatz.from_json(text)
    circuit = prepared.stage().circuit
    assert back.to_json() == text
    assert back.circuit.rotations() == circuit.rotations()
    device, hamiltonian = JaxDevice(), prepared.problem.hamiltonian
    energies = [
        device.expectation(c, hamiltonian, c.angles(back.parameters[None, :]), gradient=False).values
        for c in (circuit, back.circuit)
    ]
    assert np.array_equal(*energies)


def test_a_run_without_a_finite_energy_has_none(prepared: Prepared) -> None:
    final = FinalEvaluation(np.zeros(3), float("nan"), 0.0, None, None, 1, 0)
    assert ansatz_json(prepared, "run-1", initial(prepared), final) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: raw.pop("parameters"),
        lambda raw: raw.update(format=2),
        lambda raw: raw["parameters"].pop(),
        lambda raw: raw["circuit"].update(n_qubits=1),
        lambda raw: raw["circuit"].update(n_qubits=10**6),
        lambda raw: raw["circuit"]["rotations"]["x"].pop(),
        lambda raw: raw["circuit"]["rotations"]["x"].__setitem__(0, 2**70),
        lambda raw: raw["circuit"]["rotations"].update(x=[[1]]),
    ],
)
def test_anything_else_is_refused(text: str, change) -> None:
    raw = json.loads(text)
    change(raw)
    with pytest.raises(SpecError, match="not an optimised ansatz"):
        OptimizedAnsatz.from_json(json.dumps(raw))


@pytest.mark.parametrize("text", ["", "[]", "null", "{", "\x00"])
def test_text_that_is_no_record_is_refused(text: str) -> None:
    with pytest.raises(SpecError):
        OptimizedAnsatz.from_json(text)
