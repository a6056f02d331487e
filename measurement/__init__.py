"""How an energy is measured: grouping, shot allocation, estimators, gradients from shifted circuits."""

from measurement.allocation import SHOTS_PER_GROUP_MIN, allocate
from measurement.combination import Combination, combine
from measurement.estimator import Estimates, estimate
from measurement.grouping import Group, Grouping, qubit_wise_commuting
from measurement.parameter_shift import ShiftRule
from measurement.plan import Bases, ExecutionPlan, Outcome

__all__ = [
    "SHOTS_PER_GROUP_MIN",
    "Bases",
    "Combination",
    "Estimates",
    "ExecutionPlan",
    "Group",
    "Grouping",
    "Outcome",
    "ShiftRule",
    "allocate",
    "combine",
    "estimate",
    "qubit_wise_commuting",
]
