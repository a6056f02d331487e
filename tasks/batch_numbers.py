"""How an iteration's batches are numbered in the journal, so that a resumed run finds what it bought.

A leg is one device's part of a plan. Legs of the final evaluation come after all others, and the readout
calibrations that are bought for a leg are as far into the treatments as its batches are into the numbers.
"""

from __future__ import annotations

from ledger import TREATMENTS

LEG_BATCHES = 100_000
"""Batch numbers of one leg."""
FINAL_LEGS = 1_000
"""Legs from this number on belong to the final evaluation."""


def is_final(batch: int) -> bool:
    """Whether a batch, or a calibration for one, belongs to the final evaluation."""
    return batch % TREATMENTS >= FINAL_LEGS * LEG_BATCHES
