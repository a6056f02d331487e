"""Which way a sampled gradient is got, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from measurement import GradientDesign, ShiftRule, all_shifts, coordinate_subset, simultaneous
from problems import Circuit
from tasks.prepared import Prepared

PARAMETERS_FEW = 32
"""Up to here every derivative is measured in every iteration."""
SUBSET = 16
SPSA_PAIRS = 4
SPSA_STEP = 0.2
SLOPE_TYPICAL = 0.1
"""Of the energy's single-shot standard deviation per radian: what derivatives are compared with."""


@dataclass(frozen=True)
class Gradient:
    """A way to get gradients, and the reason for it in words."""

    kind: Literal["parameter_shift", "coordinates", "spsa"]
    reason: str


def gradient_of(prepared: Prepared, circuit: Circuit, rule: ShiftRule) -> Gradient:
    """What the spec asks for; `auto` decides by the number of parameters and by noise.

    With few parameters every derivative is shifted. With many, S shots bring each derivative to the variance
    d V / S by shifts and, at a step c, to about V / (c^2 S) + |g|^2 by simultaneous perturbation: where noise
    outweighs the slope that is less, and elsewhere a random subset of exact derivatives is better.
    """
    asked = prepared.spec.optimizer.gradient
    if prepared.chooses_shots:
        return Gradient("parameter_shift", "the optimizer sets the shots of each derivative")
    if asked != "auto":
        return Gradient(asked, "the spec asks for it")
    d = circuit.n_parameters
    if d <= PARAMETERS_FEW:
        return Gradient("parameter_shift", f"{d} parameters, at most {PARAMETERS_FEW}")
    shots = prepared.shots_per_evaluation * len(rule)
    noise = d / shots
    if noise > SLOPE_TYPICAL**2 and d * SPSA_STEP**2 > 1:
        return Gradient("spsa", f"{d} parameters and noise above the slopes at {shots} shots an iteration")
    return Gradient("coordinates", f"{d} parameters: {SUBSET} random ones an iteration")


def design_of(
    how: Gradient, circuit: Circuit, rule: ShiftRule, point: np.ndarray, rng: np.random.Generator
) -> GradientDesign:
    """What to measure around a point."""
    match how.kind:
        case "parameter_shift":
            return all_shifts(circuit, rule, point)
        case "coordinates":
            return coordinate_subset(circuit, rule, point, SUBSET, rng)
        case "spsa":
            return simultaneous(circuit, point, SPSA_PAIRS, SPSA_STEP, rng)
