"""What an ended job costs by its device's price and rule for failures. Pure."""

from __future__ import annotations

from backends.prices import FailureBilling, Price, Usage


def cost_of_end(price: Price, *, done: bool, asked: Usage, used: Usage) -> int:
    """Micro-USD for a job that ended.

    Args:
        done: it completed; `used` is billed, which may be less than was asked.
        asked: what it would have used.
        used: what it used.
    """
    if done:
        return price.cost_micro_usd(used)
    match price.failure_billing:
        case FailureBilling.NONE:
            return 0
        case FailureBilling.TASK_FEE:
            return price.cost_micro_usd(Usage(tasks=asked.tasks))
        case FailureBilling.DONE_SHOTS:
            return price.cost_micro_usd(used)
        case FailureBilling.FULL:
            return price.cost_micro_usd(asked)
