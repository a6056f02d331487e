"""What of the measured energies is minimised."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field

from shotwise.spec.model import Section

TAIL_SHOTS_MIN = 10
"""The mean of fewer samples has no error bar worth the name."""


class ExpectationObjective(Section):
    """The mean energy."""

    kind: Literal["expectation"] = "expectation"


class CvarObjective(Section):
    """Conditional value at risk: the mean of the lowest `alpha` of all samples (arXiv:1907.04769)."""

    kind: Literal["cvar"]
    alpha: float = Field(default=0.2, gt=0, le=1)

    def check_shots(self, shots: int) -> None:
        """Raise ValueError where the tail would have fewer than `TAIL_SHOTS_MIN` samples."""
        if self.alpha * shots < TAIL_SHOTS_MIN:
            raise ValueError(
                f"objective.alpha {self.alpha:g} of {shots} shots are too few samples; "
                f"use at least {math.ceil(TAIL_SHOTS_MIN / self.alpha)} shots"
            )


ObjectiveSpec = Annotated[ExpectationObjective | CvarObjective, Field(discriminator="kind")]
