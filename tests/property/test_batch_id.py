"""Batch numbers are in every journal: packing loses nothing, keeps the order, and never changes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import BatchId, JobKey

ids = st.builds(BatchId, st.booleans(), st.booleans(), st.integers(0, 999), st.integers(0, 99_999))


@given(ids)
def test_a_number_is_read_as_it_was_written(batch: BatchId) -> None:
    assert BatchId.from_number(batch.number) == batch


@given(st.integers(0, 399_999_999))
def test_every_number_is_some_batchs(number: int) -> None:
    assert BatchId.from_number(number).number == number


@given(ids, ids)
def test_batches_are_in_the_order_of_their_numbers(one: BatchId, other: BatchId) -> None:
    assert (one < other) == (one.number < other.number)


@pytest.mark.parametrize(
    ("batch", "number"),
    [
        (BatchId(), 0),
        (BatchId(part=7), 7),
        (BatchId(placement=1), 100_000),
        (BatchId(placement=999, part=99_999), 99_999_999),
        (BatchId(final=True), 100_000_000),
        (BatchId(final=True, placement=3, part=2), 100_300_002),
        (BatchId(calibration=True), 200_000_000),
        (BatchId(calibration=True, placement=2, part=1), 200_200_001),
        (BatchId(calibration=True, final=True), 300_000_000),
        (BatchId(calibration=True, final=True, placement=3), 300_300_000),
        (BatchId.of_free_run(final=False), 0),
        (BatchId.of_free_run(final=True), 1),
    ],
)
def test_the_numbers_of_journals_that_there_are(batch: BatchId, number: int) -> None:
    assert batch.number == number
    assert BatchId.from_number(number) == batch


def test_a_token_of_a_journal_that_there_is() -> None:
    token = JobKey("h2-1f00", 4, BatchId(final=True, placement=3, part=2).number, 1).token
    assert token == "b32d48c0f3e8a3e8b291cbdcf9e4c94509844f33fc13baa69830dd1b61a87a6f"


def test_ways_from_one_batch_to_another() -> None:
    first = BatchId(final=True)
    assert first.later(2).with_part(5).number == 100_200_005
    assert first.with_part(5).later(1).number == 100_100_000
    assert first.later(2).of_calibration.with_part(1).number == 300_200_001
    assert (BatchId(placement=4, part=9).place, first.later(4).place) == (4, 1004)
