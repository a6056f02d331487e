"""How an energy is measured: grouping, shot allocation, estimators, gradients from shifted circuits."""

from measurement.allocation import SHOTS_PER_GROUP_MIN, allocate, allocate_all, regularized_sigmas, shots_for
from measurement.choice import MeasurementCost, choose_grouping
from measurement.combination import Combination, combine
from measurement.estimator import Estimates, estimate
from measurement.fees import NO_FEES, Fees
from measurement.gradient_design import GradientDesign, all_shifts, coordinate_subset, simultaneous
from measurement.group_variances import GroupVariances, halfway_variances, prior_variances
from measurement.grouping import Group, Grouping, fewest, fully_commuting, overlapping, qubit_wise_commuting
from measurement.parameter_shift import ShiftRule
from measurement.plan import Bases, ExecutionPlan, Outcome
from measurement.tail import clipped, quantile, tail_estimates

__all__ = [
    "NO_FEES",
    "SHOTS_PER_GROUP_MIN",
    "Bases",
    "Combination",
    "Estimates",
    "ExecutionPlan",
    "Fees",
    "GradientDesign",
    "Group",
    "GroupVariances",
    "Grouping",
    "MeasurementCost",
    "Outcome",
    "ShiftRule",
    "all_shifts",
    "allocate",
    "allocate_all",
    "choose_grouping",
    "clipped",
    "combine",
    "coordinate_subset",
    "estimate",
    "fewest",
    "fully_commuting",
    "halfway_variances",
    "overlapping",
    "prior_variances",
    "quantile",
    "qubit_wise_commuting",
    "regularized_sigmas",
    "shots_for",
    "simultaneous",
    "tail_estimates",
]
