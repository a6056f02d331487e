"""What is done to a plan before it runs, and to its counts after: expand, then combine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from measurement.allocation import SHOTS_PER_GROUP_MIN, allocate
from measurement.estimator import Estimates, bessel
from measurement.mitigation.extrapolation import NONE, Extrapolation
from measurement.mitigation.readout import ReadoutErrors, balanced_flips
from measurement.mitigation.symmetry import Readings
from measurement.plan import ExecutionPlan, Outcome

KEPT_SIGMAS = 3.0
"""A kept fraction nearer to zero than this many of its errors divides nothing: energies stay unverified."""


@dataclass(frozen=True)
class Treatment:
    """Techniques that are used together on one device.

    Attributes:
        readout: invert the readout errors.
        twirling: read every basis under `balanced_flips`, so that errors lose their asymmetry.
        symmetry: post-select by electron numbers.
        extrapolation: over numbers of copies of the ansatz; `NONE` for none.
    """

    readout: bool = False
    twirling: bool = False
    symmetry: bool = False
    extrapolation: Extrapolation = NONE

    @property
    def names(self) -> tuple[str, ...]:
        """As the spec calls them; () for none."""
        used = {
            "readout": self.readout,
            "zne": self.extrapolation != NONE,
            "twirling": self.twirling,
            "symmetry": self.symmetry,
        }
        return tuple(name for name, is_used in used.items() if is_used)

    def variations(self, n_qubits: int) -> list[tuple[int, int, float]]:
        """(copies, flips, share of a row's shots) of every circuit that a row becomes."""
        flips = balanced_flips(n_qubits) if self.twirling else (0,)
        scales = zip(self.extrapolation.scales, self.extrapolation.shares, strict=True)
        return [(scale, mask, float(share) / len(flips)) for scale, share in scales for mask in flips]

    def shots_min(self, n_qubits: int) -> int:
        """The fewest shots that an expanded row has."""
        return SHOTS_PER_GROUP_MIN * len(self.variations(n_qubits))

    def expand(self, plan: ExecutionPlan) -> ExecutionPlan:
        """The plan with every row's shots shared by its variations.

        The total stays the same, but rows that have fewer than `shots_min` are raised to it.
        """
        each = self.variations(plan.circuit.n_qubits)
        if [(copies, flips) for copies, flips, _ in each] == [(1, 0)]:
            return plan
        shares = np.array([share for _, _, share in each])
        least = SHOTS_PER_GROUP_MIN * len(each)
        shots = np.stack([allocate(max(int(row), least), shares) for row in plan.shots], axis=1)
        variation = np.arange(len(each))[:, None] * len(plan.bases)
        return replace(
            plan,
            bases=plan.bases.variations([(copies, flips) for copies, flips, _ in each]),
            point=np.tile(plan.point, len(each)),
            basis=(variation + plan.basis).ravel(),
            shots=shots.ravel(),
        )


@dataclass(frozen=True, eq=False)
class Piece:
    """Rows of an expanded plan that ran on one device, and how that device reads bits."""

    plan: ExecutionPlan
    outcome: Outcome
    errors: ReadoutErrors


def combine(
    treatment: Treatment, pieces: Sequence[Piece], readings: Readings, fallback: Readings
) -> Estimates:
    """Mitigated energies of all points and their squared standard errors.

    Shots and readout calibrations are propagated to first order; a calibration's errors are shared by all
    circuits that it corrects, so they are added up before they are squared. Rows of one point, basis and
    scale are pooled by their shots.

    Args:
        pieces: of one expanded plan, all rows together.
        readings: what the bases say, one entry a basis of the plan before it was expanded.
        fallback: plain readings for points whose kept fraction is not clearly above zero.

    Raises:
        ValueError: a point lacks a basis at some scale.
    """
    n_bases = len(readings.energy)
    rows = _rows(pieces, n_bases)
    checked, unchecked = _Duals(readings), _Duals(fallback)
    points = len(pieces[0].plan.angles)
    means, variances = np.zeros(points), np.zeros(points)
    for point in range(points):
        slopes: dict[ReadoutErrors, np.ndarray] = {}
        for scale, weight in zip(
            treatment.extrapolation.scales, treatment.extrapolation.weights, strict=True
        ):
            found = rows.get((point, scale), [])
            if len({row.basis for row in found}) < n_bases:
                raise ValueError("a point has groups without shots: its energy would lack their terms")
            energy, variance, by_errors = _energy(found, checked, unchecked)
            means[point] += weight * energy
            variances[point] += weight**2 * variance
            for errors, slope in by_errors.items():
                slopes[errors] = slopes.get(errors, 0.0) + weight * slope
        for errors, slope in slopes.items():
            variances[point] += float((slope**2 * errors.variances).sum())
    return Estimates(means, variances)


def unmitigated(
    plan: ExecutionPlan, expanded: ExecutionPlan, outcome: Outcome
) -> tuple[ExecutionPlan, Outcome]:
    """What one copy of the ansatz gave, as the rows of the plan before it was expanded; flips undone.

    For what needs no mitigation: candidate solutions, and the groups' variances.

    Args:
        expanded: as `Treatment.expand` made it: the plan's rows once for every variation.
    """
    bases, kept = expanded.bases, []
    for row, basis in enumerate(expanded.basis.tolist()):
        if bases.copies_at(basis) == 1:
            states, counts = outcome.row(row)
            one = Outcome.from_rows([(states ^ bases.flips_at(basis), counts)])
            kept.append((np.array([row % len(plan)]), one))
    found = Outcome.summed(len(plan), kept)
    return replace(plan, shots=found.shots), found


@dataclass(frozen=True, eq=False)
class _Row:
    """One circuit's counts: frequencies of outcomes as read, and how they were read."""

    basis: int
    frequencies: np.ndarray
    shots: int
    flips: int
    errors: ReadoutErrors


def _rows(pieces: Sequence[Piece], n_bases: int) -> dict[tuple[int, int], list[_Row]]:
    """Rows by (point, copies); bases are those before expansion."""
    rows: dict[tuple[int, int], list[_Row]] = {}
    for piece in pieces:
        plan = piece.plan
        for row, basis in enumerate(plan.basis.tolist()):
            states, counts = piece.outcome.row(row)
            shots = int(counts.sum())
            if not shots:
                continue
            frequencies = np.zeros(1 << plan.circuit.n_qubits)
            frequencies[states] = counts / shots
            where = int(plan.point[row]), plan.bases.copies_at(basis)
            flips = plan.bases.flips_at(basis)
            rows.setdefault(where, []).append(_Row(basis % n_bases, frequencies, shots, flips, piece.errors))
    return rows


class _Duals:
    """Readings as functions of outcomes as read, for every device and flip that occurs."""

    def __init__(self, readings: Readings) -> None:
        self.readings = readings
        inside = (
            readings.energy != 0 if readings.kept is None else (readings.energy != 0) | (readings.kept != 0)
        )
        self.filled = np.maximum(inside.mean(axis=1), 1 / inside.shape[1])
        self._known: dict[tuple[ReadoutErrors, int], tuple[np.ndarray, np.ndarray]] = {}

    def of(self, rows: list[_Row]) -> tuple[np.ndarray, np.ndarray]:
        """(energy, kept) of each row, shape (rows, 2**n); kept is all zeros where there is no ratio."""
        pairs = [self._made(row.errors, row.flips) for row in rows]
        energy = np.stack([pair[0][row.basis] for pair, row in zip(pairs, rows, strict=True)])
        return energy, np.stack([pair[1][row.basis] for pair, row in zip(pairs, rows, strict=True)])

    def _made(self, errors: ReadoutErrors, flips: int) -> tuple[np.ndarray, np.ndarray]:
        if (errors, flips) not in self._known:
            energy, kept = self.readings.energy, self.readings.kept
            flipped = np.arange(energy.shape[1]) ^ flips
            kept = np.zeros_like(energy) if kept is None else kept
            self._known[errors, flips] = errors.dual(energy[:, flipped]), errors.dual(kept[:, flipped])
        return self._known[errors, flips]


def _energy(
    rows: list[_Row], duals: _Duals, fallback: _Duals
) -> tuple[float, float, dict[ReadoutErrors, np.ndarray]]:
    """One point at one scale: energy, its variance by shots, and its slopes by each device's errors."""
    shots = np.array([row.shots for row in rows])
    bases = np.array([row.basis for row in rows])
    share = shots / np.bincount(bases, weights=shots)[bases]
    read = np.stack([row.frequencies for row in rows])
    energies, kepts = duals.of(rows)
    filled = duals.filled[bases]
    kept = 1.0
    if duals.readings.kept is not None:
        kept = float(share @ (kepts * read).sum(axis=1))
        if kept < KEPT_SIGMAS * np.sqrt(_variance(kepts, read, shots, share, filled)):
            return _energy(rows, fallback, fallback)
    energy = float(share @ (energies * read).sum(axis=1)) / kept
    # to first order, A/B moves as (dA - (A/B) dB) / B
    values = (energies - energy * kepts) / kept
    slopes = {}
    for errors in dict.fromkeys(row.errors for row in rows):
        mine = np.array([row.errors is errors for row in rows])
        slopes[errors] = errors.gradient(values[mine] * share[mine, None], read[mine])
    return duals.readings.constant + energy, _variance(values, read, shots, share, filled), slopes


def _variance(
    values: np.ndarray,
    read: np.ndarray,
    shots: np.ndarray,
    share: np.ndarray,
    filled: np.ndarray,
) -> float:
    """Squared standard error of the rows' weighted mean, with a pseudo-shot each as in `group_mean`.

    Verified values vanish outside their sector: the pseudo-shot falls inside, on a share `filled` of states.
    """
    means = (values * read).sum(axis=1, keepdims=True)
    spread = ((values - means) ** 2 * read).sum(axis=1) * bessel(shots)
    unlikely = values.var(axis=1) / filled / shots
    return float((share**2 * (spread + unlikely) / shots).sum())
