"""An optimised ansatz as JSON: the circuit and the parameters that a run ended with. Nothing is pickled."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from problems.circuit import FIXED, Circuit
from shotwise.errors import SpecError, display_text

if TYPE_CHECKING:
    from tasks.prepared import Prepared
    from tasks.result import FinalEvaluation
    from tasks.state import LoopState

FORMAT = 1
_COLUMNS = {
    "x": np.int64,
    "z": np.int64,
    "source": np.int64,
    "excitation": np.bool_,
    "parameter": np.int32,
    "scale": np.float64,
    "offset": np.float64,
}


@dataclass(frozen=True, eq=False)
class OptimizedAnsatz:
    """What a run found, ready to be run again.

    Attributes:
        circuit, parameters: `circuit.angles(parameters[None, :])` are its rotation angles in radians.
        energy, energy_std_error: as the run's final evaluation has them, in `unit`.
        problem_sha256: of the problem whose energy it is.
    """

    run_id: str
    problem_sha256: str
    circuit: Circuit
    parameters: np.ndarray
    energy: float
    energy_std_error: float
    unit: str

    def to_json(self) -> str:
        """As JSON; floats survive to the last bit."""
        circuit = self.circuit
        return json.dumps(
            {
                "format": FORMAT,
                "run_id": self.run_id,
                "problem_sha256": self.problem_sha256,
                "energy": self.energy,
                "energy_std_error": self.energy_std_error,
                "unit": self.unit,
                "parameters": self.parameters.tolist(),
                "circuit": {
                    "n_qubits": circuit.n_qubits,
                    "initial_state": circuit.initial_state,
                    "initial_plus": circuit.initial_plus,
                    "rotations": {name: getattr(circuit, name).tolist() for name in _COLUMNS},
                },
            }
        )

    @classmethod
    def from_json(cls, text: str) -> OptimizedAnsatz:
        """Read `to_json` back.

        Raises:
            SpecError: the text is no such record.
        """
        try:
            raw = json.loads(text)
            if raw["format"] != FORMAT:
                raise ValueError(f"format {raw['format']}, this version reads {FORMAT}")
            parameters = np.array(raw["parameters"], dtype=np.float64)
            return cls(
                str(raw["run_id"]),
                str(raw["problem_sha256"]),
                _circuit(raw["circuit"], len(parameters)),
                parameters,
                float(raw["energy"]),
                float(raw["energy_std_error"]),
                str(raw["unit"]),
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            why = f"not an optimised ansatz: {type(error).__name__} {error}"
            raise SpecError(
                "ansatz.json", display_text(text[:60]), why, "give an `ansatz.json` of a run"
            ) from None


def load_ansatz(path: Path) -> OptimizedAnsatz:
    """The optimised ansatz in a file, as the model registry hands it out."""
    return OptimizedAnsatz.from_json(path.read_text())


def ansatz_json(prepared: Prepared, run_id: str, state: LoopState, final: FinalEvaluation) -> str | None:
    """The record of a run that ended; None where its energy is not finite."""
    if not np.isfinite(final.energy):
        return None
    return OptimizedAnsatz(
        run_id,
        prepared.spec.problem_sha256(),
        prepared.stage(state.operators).circuit,
        final.parameters,
        float(final.energy),
        float(final.energy_std_error),
        prepared.problem.unit,
    ).to_json()


def _circuit(raw: dict[str, Any], n_parameters: int) -> Circuit:
    rotations = {name: np.array(raw["rotations"][name], dtype=kind) for name, kind in _COLUMNS.items()}
    n_qubits, initial_state = int(raw["n_qubits"]), int(raw["initial_state"])
    if len({column.shape for column in rotations.values()}) != 1 or rotations["x"].ndim != 1:
        raise ValueError("columns of different lengths")
    if not 0 < n_qubits <= 62 or not 0 <= initial_state < 1 << n_qubits:
        raise ValueError("sizes out of range")
    masks = np.stack([rotations["x"], rotations["z"], rotations["source"]])
    named = rotations["parameter"]
    if ((masks < 0) | (masks >= 1 << n_qubits)).any() or ((named < FIXED) | (named >= n_parameters)).any():
        raise ValueError("a rotation names a qubit or a parameter that does not exist")
    return Circuit(n_qubits, n_parameters, initial_state, bool(raw["initial_plus"]), **rotations)
