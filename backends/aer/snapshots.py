"""Calibration snapshots of real devices, as qiskit-ibm-runtime ships them.

Its `fake_provider` folder holds the vendor's own answers for 60 devices as JSON. They are read here as files:
importing the package to list devices would take seconds.

The snapshots are years old. A simulated device behaves as its snapshot says at any time, so its calibration
is reported as taken a configured age ago (`Snapshot.aged`).
"""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path

from backends.calibration import Calibration
from backends.ibm_properties import read_calibration
from shotwise.errors import CannotRunError


@dataclass(frozen=True)
class Snapshot:
    """A device as its vendor described it at one moment.

    Attributes:
        name: the vendor's, without prefix: "manila".
        calibration: with `taken_us` as measured.
        native_gates: the vendor's basis gates.
        couplings: pairs (a, b), a < b, that carry a two-qubit gate, dead ones included.
        shots_max: per circuit.
        circuits_max: per job.
    """

    name: str
    calibration: Calibration
    native_gates: tuple[str, ...]
    couplings: tuple[tuple[int, int], ...]
    shots_max: int
    circuits_max: int

    def aged(self, now_us: int, age_s: float, *, drop_dead_couplings: bool) -> Calibration:
        """The calibration of a simulated device: the snapshot's values, taken `age_s` before `now_us`.

        Args:
            drop_dead_couplings: leave out couplings with an error of 1. On a chip of a hundred qubits the
                vendor marks couplings so that it took out of service, and the rest is in daily use; where it
                stays, the calibration is rejected as a whole (`backends.calibration.rejection_reason`).
        """
        pairs = self._living_pairs if drop_dead_couplings else self.calibration.two_qubit_error
        return replace(self.calibration, taken_us=now_us - round(age_s * 1e6), two_qubit_error=pairs)

    @cached_property
    def _living_pairs(self) -> tuple[tuple[tuple[int, int], float], ...]:
        return tuple((pair, error) for pair, error in self.calibration.two_qubit_error if error < 1)


@lru_cache(maxsize=128)
def load_snapshot(name: str) -> Snapshot:
    """Read a snapshot by name.

    Raises:
        CannotRunError: qiskit-ibm-runtime is not installed, or has no such snapshot.
    """
    folder = _shipped(name) / name
    if not folder.is_dir() or not name.isidentifier():
        raise CannotRunError(
            "snapshot", name, "qiskit-ibm-runtime ships no such snapshot", "see its fake_provider"
        )
    configuration = json.loads((folder / f"conf_{name}.json").read_text(encoding="utf-8"))
    properties = json.loads((folder / f"props_{name}.json").read_text(encoding="utf-8"))
    calibration = read_calibration(properties)
    return Snapshot(
        name=name,
        calibration=calibration,
        native_gates=tuple(configuration["basis_gates"]),
        couplings=tuple(pair for pair, _ in calibration.two_qubit_error),
        shots_max=int(configuration["max_shots"]),
        circuits_max=int(configuration["max_experiments"]),
    )


def _shipped(name: str) -> Path:
    # finding a top-level package does not import it
    spec = importlib.util.find_spec("qiskit_ibm_runtime")
    if spec is None or not spec.submodule_search_locations:
        raise CannotRunError("snapshot", name, "needs qiskit-ibm-runtime", "install shotwise[ibm]")
    return Path(spec.submodule_search_locations[0]) / "fake_provider" / "backends"
