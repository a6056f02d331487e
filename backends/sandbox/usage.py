"""What a plan uses on a sandbox device, and what a job that ended costs."""

from __future__ import annotations

from decimal import Decimal

from backends.prices import FailureBilling, Price, Usage
from backends.provider import JobState
from backends.sandbox.messages import QueueModel
from measurement.plan import ExecutionPlan
from problems.circuit import Circuit

_EXCITATION_CNOTS = {2: 2, 4: 13}
"""CNOTs of one- and two-electron excitations without their Jordan-Wigner string (arXiv:2005.14475)."""


def gate_counts(circuit: Circuit) -> tuple[int, int]:
    """(one-qubit, two-qubit) gates of a circuit as the sandbox compiles it, before the basis change.

    A Pauli rotation of weight w is a ladder of 2 (w - 1) CNOTs; an excitation adds two a qubit of its string.
    """
    one = two = 0
    for row in circuit.rotations():
        weight = (row.x | row.z).bit_count()
        if row.source is None:
            two += max(0, 2 * (weight - 1))
            one += 1 + 2 * row.x.bit_count()
        else:
            levels = row.x.bit_count()
            ladder = 2 * (levels - 1) << (levels - 1)
            two += _EXCITATION_CNOTS.get(levels, ladder) + 2 * row.z.bit_count()
            one += 2 * levels
    return one, two


def usage_of(plan: ExecutionPlan, queue: QueueModel, shots: int | None = None) -> Usage:
    """What the plan uses when `shots` of its shots are run, all of them by default; a task is a row."""
    shots = plan.shots_total if shots is None else shots
    one, two = gate_counts(plan.circuit)
    return Usage(
        tasks=len(plan),
        shots=shots,
        one_qubit_gate_shots=one * shots,
        two_qubit_gate_shots=two * shots,
        measured_qubit_shots=plan.circuit.n_qubits * shots,
        seconds=queue.run_s(len(plan), shots),
    )


def cost_micro_usd(
    price: Price, plan: ExecutionPlan, queue: QueueModel, state: JobState, shots_done: int
) -> int:
    """The bill of a job that ended in `state` after `shots_done` shots, by the price's failure rule."""
    asked, done = usage_of(plan, queue), usage_of(plan, queue, shots_done)
    if state is JobState.DONE:
        return price.cost_micro_usd(done)
    match price.failure_billing:
        case FailureBilling.NONE:
            return 0
        case FailureBilling.TASK_FEE:
            return Price(per_task_usd=price.per_task_usd).cost_micro_usd(asked)
        case FailureBilling.DONE_SHOTS:
            return price.cost_micro_usd(done)
        case FailureBilling.FULL:
            return price.cost_micro_usd(asked)


def scaled(price: Price, factor: Decimal) -> Price:
    """A price whose every term is `factor` times as high."""
    terms = {name: value * factor for name, value in price if isinstance(value, Decimal)}
    return price.model_copy(update=terms)
