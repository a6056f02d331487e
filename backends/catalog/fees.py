"""A device's fees, in shots that the same money buys there."""

from __future__ import annotations

from decimal import Decimal

from backends.catalog.description import DeviceDescription
from measurement.fees import Fees

SHOTS_OF_A_FEE_MAX = 1e6
"""A fee counts as no more shots than this, however cheap they are beside it."""


def fees_of(device: DeviceDescription) -> Fees:
    """What a job and a circuit of it cost, task fees and billed seconds alike; none where it is free."""
    price, queue = device.price, device.queue
    shot_usd = price.per_shot_usd + price.per_second_usd * queue.seconds_per_shot
    job_usd = max(price.per_task_usd + price.per_second_usd * queue.seconds_per_job, price.minimum_usd)
    circuit_usd = price.per_second_usd * queue.seconds_per_circuit
    a_job, a_circuit = _in_shots(job_usd, shot_usd), _in_shots(circuit_usd, shot_usd)
    return Fees(a_job, a_circuit, device.circuits_max, float(shot_usd))


def _in_shots(usd: Decimal, shot_usd: Decimal) -> float:
    if not usd:
        return 0.0
    return min(float(usd / shot_usd), SHOTS_OF_A_FEE_MAX) if shot_usd else SHOTS_OF_A_FEE_MAX
