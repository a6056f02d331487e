"""What measuring costs beside its shots."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Fees:
    """Fees as the number of shots that the same money buys.

    Attributes:
        shots_a_job: of a job, whatever is in it.
        shots_a_circuit: of each circuit of a job.
        circuits_a_job: as many circuits may share one job.
        usd_a_shot: what a shot costs, 0 where it is free.
    """

    shots_a_job: float = 0.0
    shots_a_circuit: float = 0.0
    circuits_a_job: int = 1
    usd_a_shot: float = 0.0

    def of(self, circuits: int) -> float:
        """Fees of a batch of so many circuits, in as few jobs as take it."""
        return math.ceil(circuits / self.circuits_a_job) * self.shots_a_job + circuits * self.shots_a_circuit


NO_FEES = Fees()
