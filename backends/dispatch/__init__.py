"""Which device runs a batch: pure selection over predictions, with reasons that are kept."""

from backends.dispatch.candidate import Candidate, Decision, RoutingRequest, ScoredCandidate
from backends.dispatch.policies import POLICIES
from backends.dispatch.select import select

__all__ = ["POLICIES", "Candidate", "Decision", "RoutingRequest", "ScoredCandidate", "select"]
