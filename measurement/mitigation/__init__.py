"""Error mitigation as expand (a plan becomes more circuits) and combine (their counts become energies).

Every technique is a `Treatment` or a part of one; `choose` predicts bias and variance of each before a shot.
"""

from measurement.mitigation.extrapolation import EXTRAPOLATIONS, Extrapolation, polynomial
from measurement.mitigation.forecast import Choice, Forecast, ForecastInputs, Noise, candidates, choose
from measurement.mitigation.readout import ReadoutErrors, balanced_flips, calibration_plan
from measurement.mitigation.symmetry import QUBITS_MAX, Readings, plain, verifiable, verified
from measurement.mitigation.treatment import Piece, Treatment, combine, unmitigated

__all__ = [
    "EXTRAPOLATIONS",
    "QUBITS_MAX",
    "Choice",
    "Extrapolation",
    "Forecast",
    "ForecastInputs",
    "Noise",
    "Piece",
    "Readings",
    "ReadoutErrors",
    "Treatment",
    "balanced_flips",
    "calibration_plan",
    "candidates",
    "choose",
    "combine",
    "plain",
    "polynomial",
    "unmitigated",
    "verifiable",
    "verified",
]
