"""How an iteration's batches are numbered in the journal, so that a resumed run finds what it bought.

A placement is one device's part of a plan. Placements of the final evaluation come after all others, and the
readout calibrations that are bought for one are as far into the treatments as its batches into the numbers.
"""

from __future__ import annotations

from ledger import TREATMENTS

PLACEMENT_BATCHES = 100_000
"""Batch numbers of one placement."""
FINAL_PLACEMENTS = 1_000
"""Placements from this number on belong to the final evaluation."""


def is_final(batch: int) -> bool:
    """Whether a batch, or a calibration for one, belongs to the final evaluation."""
    return batch % TREATMENTS >= FINAL_PLACEMENTS * PLACEMENT_BATCHES
