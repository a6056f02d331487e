"""What each treatment is predicted to do to one energy, before anything runs; and which one to use.

The prediction runs the treatment's own formulae on a model of what the device will return: the reference
state with probability F^c after c copies of the ansatz and the maximally mixed state otherwise, then read
with the device's errors. F is the product of the gates' and waiting times' successes from the calibration and
the transpiled circuit. Bases other than the computational are taken to read noise only, for the reference
state is a product state. So a bias and a variance come out for every treatment at the same number of shots.

The model is no better than its premises (independent, depolarizing errors): of the bias that a treatment is
predicted to remove, `MISFIT` is taken to remain.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from measurement.mitigation.extrapolation import EXTRAPOLATIONS, NONE, Extrapolation
from measurement.mitigation.readout import ReadoutErrors
from measurement.mitigation.symmetry import Readings
from measurement.mitigation.treatment import Treatment

MISFIT = 0.2
"""Share of a removed bias that is expected back: what snapshots predict and Aer returns differ by as much."""

GAIN_MIN = 0.05
"""The least relative gain in predicted error that a further technique must bring."""


@dataclass(frozen=True)
class Noise:
    """A device's noise for one circuit.

    Attributes:
        success: probability that no gate and no waiting time spoils one copy of the ansatz.
        readout_error: mean probability of a wrong bit, of our qubit q.
    """

    success: float
    readout_error: tuple[float, ...]


@dataclass(frozen=True)
class Forecast:
    """One treatment's predicted error of one energy, in its unit."""

    treatment: Treatment
    bias: float
    std_error: float

    @property
    def error(self) -> float:
        """Root mean square."""
        return math.hypot(self.bias, self.std_error)

    def __str__(self) -> str:
        return f"{' + '.join(self.treatment.names) or 'none'}: bias {self.bias:.1e}, std {self.std_error:.1e}"


@dataclass(frozen=True)
class Choice:
    """The treatment to use, and what not to treat would bring."""

    chosen: Forecast
    untreated: Forecast

    @property
    def reason(self) -> str:
        """One sentence for people."""
        names = " + ".join(self.chosen.treatment.names) or "none"
        if self.chosen.treatment.extrapolation != NONE:
            names += f" ({self.chosen.treatment.extrapolation.name})"
        return (
            f"{names}: predicted error {self.chosen.error:.1e} (bias {self.chosen.bias:.1e}, "
            f"std {self.chosen.std_error:.1e}) against {self.untreated.error:.1e} without"
        )


@dataclass(frozen=True, eq=False)
class ForecastInputs:
    """What forecasts are about.

    Attributes:
        plain, verified: what the bases say; `verified` is None where no symmetry applies.
        computational: bool, shape (bases,): bases that read every qubit in Z.
        reference_state: basis state that the ansatz starts from; None for |+...+>.
        shots: of each basis in one energy, shape (bases,).
        shots_least: of any circuit of the plan; a treatment that takes more is not picked by itself.
        calibration_shots: of a measured readout calibration; None where the snapshot is used.
        calibration_overhead: those shots over all others that the run will spend and that share them; a
            treatment that needs a calibration is compared at so many fewer shots of its own.
    """

    plain: Readings
    verified: Readings | None
    computational: np.ndarray
    reference_state: int | None
    shots: np.ndarray
    shots_least: int
    calibration_shots: int | None
    calibration_overhead: float = 0.0


def candidates(names: Iterable[str] | None, inputs: ForecastInputs, n_qubits: int) -> list[Treatment]:
    """Treatments to choose among: those with exactly the techniques named, or any that apply for None.

    Untwirled inversion handles asymmetric errors by itself where they were measured; a snapshot tells only
    their mean, so there readout inversion comes with twirling, which makes the mean exact.
    """
    wanted = None if names is None else frozenset(names)
    found = []
    extrapolations: Sequence[Extrapolation] = list(EXTRAPOLATIONS.values())
    for readout, twirling, symmetry, extrapolation in product(
        (False, True), (False, True), (False, True), extrapolations
    ):
        treatment = Treatment(readout, twirling, symmetry, extrapolation)
        fits = inputs.shots_least >= treatment.shots_min(n_qubits)
        sensible = twirling == (readout and inputs.calibration_shots is None)
        if symmetry and inputs.verified is None:
            continue
        if (wanted is None and fits and sensible) or wanted == frozenset(treatment.names):
            found.append(treatment)
    return found


def choose(treatments: Sequence[Treatment], inputs: ForecastInputs, noise: Noise) -> Choice:
    """The treatment with the least predicted error; fewer techniques where more gain next to nothing."""
    untreated = forecast(Treatment(), inputs, noise, untreated_bias=None)
    forecasts = sorted(
        (forecast(t, inputs, noise, untreated_bias=untreated.bias) for t in treatments),
        key=lambda f: (f.error, len(f.treatment.names)),
    )
    near = [f for f in forecasts if f.error * (1 - GAIN_MIN) <= forecasts[0].error]
    return Choice(min(near, key=lambda f: len(f.treatment.names)), untreated)


def forecast(
    treatment: Treatment, inputs: ForecastInputs, noise: Noise, *, untreated_bias: float | None
) -> Forecast:
    """Predicted bias and standard error of one energy under a treatment.

    Args:
        untreated_bias: without any; None where that is what is asked for.
    """
    actual = ReadoutErrors.from_snapshot(np.array(noise.readout_error))
    assumed = _assumed_errors(treatment, inputs, actual)
    readings = inputs.verified if treatment.symmetry and inputs.verified else inputs.plain
    energies, variance, slopes = [], 0.0, np.zeros_like(assumed.e)
    calibrated = treatment.readout and inputs.calibration_shots is not None
    whole = inputs.shots / (1 + inputs.calibration_overhead) if calibrated else inputs.shots
    extrapolation = treatment.extrapolation
    for scale, weight, share in zip(
        extrapolation.scales, extrapolation.weights, extrapolation.shares, strict=True
    ):
        energy, per_energy, slope = _predicted(
            readings, inputs, actual, assumed, success=noise.success**scale, shots=whole * share
        )
        energies.append(energy)
        variance += weight**2 * per_energy
        slopes += weight * slope
    ideal, _, _ = _predicted(
        readings,
        inputs,
        *(ReadoutErrors.none(len(noise.readout_error)),) * 2,
        success=1.0,
        shots=inputs.shots,
    )
    bias = abs(float(extrapolation.at_zero(np.array(energies))) - ideal)
    if untreated_bias is not None and treatment.names:
        bias = math.hypot(bias, MISFIT * max(untreated_bias - bias, 0.0))
    variance += float((slopes**2 * assumed.variances).sum())
    return Forecast(treatment, bias, math.sqrt(variance))


def _assumed_errors(treatment: Treatment, inputs: ForecastInputs, actual: ReadoutErrors) -> ReadoutErrors:
    """The errors that the treatment would invert, with the uncertainty that it would know them with."""
    if not treatment.readout or not actual.invertible:
        return ReadoutErrors.none(len(actual.e))
    if inputs.calibration_shots is None:
        return actual
    seen = inputs.calibration_shots / 2  # half the circuits prepare a qubit's 0, half its 1
    return ReadoutErrors(actual.e, actual.e * (1 - actual.e) / (seen + 3))


def _predicted(
    readings: Readings,
    inputs: ForecastInputs,
    actual: ReadoutErrors,
    assumed: ReadoutErrors,
    *,
    success: float,
    shots: np.ndarray,
) -> tuple[float, float, np.ndarray]:
    """(energy, its variance by shots, its slopes by the assumed errors) on the model's distributions."""
    states = readings.energy.shape[1]
    mixed = np.full(states, 1 / states)
    prepared = mixed * (1 - success)
    if inputs.reference_state is None:
        prepared = mixed
    else:
        prepared[inputs.reference_state] += success
    of_z, of_others = (_with_readout_errors(actual, p) for p in (prepared, mixed))
    read = np.where(inputs.computational[:, None], of_z, of_others)
    energies, kept = assumed.dual(readings.energy), 1.0
    residual = energies
    energy = float((energies * read).sum())
    if readings.kept is not None:
        kepts = assumed.dual(readings.kept)
        kept = float((kepts * read).sum())
        energy /= kept
        residual = (energies - energy * kepts) / kept
    means = (residual * read).sum(axis=1)
    spread = (residual**2 * read).sum(axis=1) - means**2
    variance = float((spread / np.maximum(shots, 1.0)).sum())
    return readings.constant + energy, variance, assumed.gradient(residual, read)


def _with_readout_errors(errors: ReadoutErrors, distribution: np.ndarray) -> np.ndarray:
    """M p."""
    for q, (e0, e1) in enumerate(errors.e):
        table = distribution.reshape(-1, 2, 1 << q)
        zero, one = table[:, 0], table[:, 1]
        distribution = np.stack([(1 - e0) * zero + e1 * one, e0 * zero + (1 - e1) * one], axis=1).reshape(-1)
    return distribution
