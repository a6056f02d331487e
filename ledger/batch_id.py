"""How an iteration's batches are numbered in the journal, so that a resumed run finds what it bought.

A batch is one number in the primary keys and tokens of every journal that there is, so what it is a batch
of is packed into that number, and the packing never changes:

    calibration * 200,000,000 + final * 100,000,000 + placement * 100,000 + part

Numbers are in order: of one iteration all ordinary batches, those of the final evaluation, and then
calibrations in the same order. Nothing keeps a placement or part in its range; beyond it runs into the next.
A probe's batches are parts of one placement.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

_CALIBRATION = 200_000_000
_FINAL = 100_000_000
_PLACEMENT = 100_000


@dataclass(frozen=True, order=True)
class BatchId:
    """What a batch of an iteration is of.

    Attributes:
        calibration: it is of the readout calibration that is bought for a placement. The first of them is
            also what the placement's treatment is entered under.
        final: it belongs to the final evaluation.
        placement: one device's part of the plan, below 1000; where that device gives up, the rest is another.
        part: of the placement, below 100,000, as a device's limits ask for several jobs.
    """

    calibration: bool = False
    final: bool = False
    placement: int = 0
    part: int = 0

    @classmethod
    def from_number(cls, number: int) -> BatchId:
        """What the journal means by a number."""
        calibration, ordinal = divmod(number, _CALIBRATION)
        final, ordinal = divmod(ordinal, _FINAL)
        return cls(bool(calibration), bool(final), *divmod(ordinal, _PLACEMENT))

    @classmethod
    def of_free_run(cls, *, final: bool) -> BatchId:
        """All that an iteration measures where nothing costs; the final evaluation is the next part of it."""
        return cls(part=int(final))

    @property
    def number(self) -> int:
        """For the journal."""
        whole = self.calibration * _CALIBRATION + self.final * _FINAL
        return whole + self.placement * _PLACEMENT + self.part

    @property
    def place(self) -> int:
        """Of its placement among all of the iteration, the final evaluation's from 1000 on."""
        return self.final * (_FINAL // _PLACEMENT) + self.placement

    def with_part(self, part: int) -> BatchId:
        """A part of the same placement."""
        return replace(self, part=part)

    def later(self, placements: int) -> BatchId:
        """The first part of a later placement."""
        return replace(self, placement=self.placement + placements, part=0)

    @property
    def of_calibration(self) -> BatchId:
        """The first batch of the calibration for its placement."""
        return replace(self, calibration=True, part=0)
