"""A result as the rows of a table, for the terminal and for Prefect's pages."""

from __future__ import annotations

from collections.abc import Mapping

from optimizers import Reason
from tasks.interval import half_width
from tasks.result import RunResult

_SIGMAS = 4.0
_ROUNDING = 1e-6
"""Below an exact reference by more than these is no accident."""

_Rows = list[tuple[str, str | None]]
"""Names and values; a row without a value is left out."""


_PHASES = ("pilot", "optimization", "final")


def summary_rows(result: RunResult, unit: str, *, recursive: bool = False) -> list[tuple[str, str]]:
    """The result as (name, value) rows for a table.

    Args:
        recursive: of recursive QAOA, whose answer is not the energy but what single flips made of it.
    """
    suffix = f" {unit}" if unit else ""
    rows: _Rows = [
        ("state", f"{result.state} ({result.reason})"),
        ("  what next", _advice(result)),
        *_energy_rows(result, suffix, "energy of the recursion" if recursive else "energy"),
        *_cut_rows(result, recursive),
        *_spending_rows(result),
        *result.method.items(),
        ("mitigation", result.mitigation),
    ]
    return [(name, value) for name, value in rows if value is not None]


def _energy_rows(result: RunResult, suffix: str, name: str) -> _Rows:
    """The energy and what is known of how good it is."""
    noisy = result.predicted_bias is not None
    return [
        (name, _energy(result.energy, suffix, result.energy_std_error) or _why_without(result)),
        ("  beside the interval", _bias(result, suffix)),
        ("  warning", _bias_warning(result)),
        ("  the devices disagree", _disagreement(result.disagreement)),
        (f"reference ({result.reference_method})", _energy(result.reference_energy, suffix)),
        ("  below it", _below(result)),
        ("standard error", _precision(result)),
        ("error", None if result.error is None else f"{result.error:.2e}{suffix}"),
        ("CVaR", _energy(result.cvar, suffix, result.cvar_std_error)),
        ("fidelity without noise" if noisy else "fidelity", _number(result.fidelity, ".6f")),
    ]


def _cut_rows(result: RunResult, recursive: bool) -> _Rows:
    """The best sample and the cut that it is; of a problem that is no cut its value."""
    value = result.best_value if result.best_cut_value is None else None
    answer = " (the answer)" if recursive else ""
    return [
        ("cut of the recursion" if recursive else "cut value (expected)", _number(result.cut_value)),
        (f"best cut found{answer}", _number(result.best_cut_value)),
        ("reference cut", _number(result.reference_cut_value)),
        (f"{result.baseline_method} cut", _number(result.baseline_cut_value)),
        ("approximation ratio (expected)", _number(result.expected_approximation_ratio, ".4f")),
        ("approximation ratio (best cut)", _number(result.approximation_ratio, ".4f")),
        (f"best value found{answer}", _number(value)),
        ("best bitstring", result.bitstring),
    ]


def _spending_rows(result: RunResult) -> _Rows:
    """What it took, in all, by phase and by device; of a run that spent nothing neither shots nor cost."""
    spent = bool(result.shots or result.cost_usd)
    phases = {name: result.spent_by_phase[name] for name in _PHASES if name in result.spent_by_phase}
    calibrations = {"shots": result.calibration_shots, "cost_usd": result.calibration_cost_usd}
    return [
        ("grown operators", None if result.operators is None else str(result.operators)),
        ("iterations", str(result.iterations)),
        ("energy evaluations", str(result.evaluations) if result.evaluations else None),
        ("shots", f"{result.shots:,}" if spent else None),
        ("cost", f"${result.cost_usd:.2f}" if spent else None),
        ("  warning", result.overbilling.warning),
        *((f"  {name}", _amount(amount)) for name, amount in phases.items()),
        *((f"  on {name}", _amount(amount)) for name, amount in result.spent_by_device.items()),
        ("  of it calibrations", _amount(calibrations)),
    ]


def _energy(value: float | None, suffix: str, std_error: float | None = None) -> str | None:
    if value is None:
        return None
    interval = f" +- {half_width(std_error):.1e} (95 %)" if std_error else ""
    return f"{value:.8f}{suffix}{interval}"


def _number(value: float | None, form: str = ".6g") -> str | None:
    return None if value is None else f"{value:{form}}"


def _amount(spent: Mapping[str, float]) -> str | None:
    if not (spent["shots"] or spent["cost_usd"]):
        return None
    return f"{spent['shots']:,.0f} shots, ${spent['cost_usd']:.2f}"


def _advice(result: RunResult) -> str | None:
    if _ended_by_disputes(result):
        account = result.overbilling.disputes_account
        return (
            f"Bills above the quotes are disputed and took the budget's room: see `shotwise budget disputes "
            f"{account}`, accept them under a higher limit or waive them, and start a new run."
        )
    return None if result.reason == Reason.CONVERGED else Reason(result.reason).advice


def _why_without(result: RunResult) -> str | None:
    if _ended_by_disputes(result):
        return "not measured: disputed bills took the room that was kept for it"
    return "not measured: no budget was left for it" if result.reason == Reason.BUDGET_REACHED else None


def _ended_by_disputes(result: RunResult) -> bool:
    return result.reason == Reason.BUDGET_REACHED and result.overbilling.disputes_took_room


def _bias(result: RunResult, suffix: str) -> str | None:
    if not result.predicted_bias or result.energy is None:
        return None
    if result.uncalibrated:
        return f"a bias that nobody can predict, of up to about {result.predicted_bias:.1e}{suffix}"
    return f"a bias of about {result.predicted_bias:.1e}{suffix}, predicted from the devices' calibration"


def _bias_warning(result: RunResult) -> str | None:
    if result.uncalibrated and result.energy is not None:
        devices = ", ".join(result.uncalibrated)
        return (
            f"no calibration of {devices} was to be had: nothing is known of the errors there, and the true "
            "energy may well lie outside the interval"
        )
    half = half_width(result.energy_std_error or 0.0)
    if not result.predicted_bias or result.energy is None or result.predicted_bias <= half:
        return None
    return (
        "the predicted bias is larger than the error bar: the true energy may well lie outside the interval, "
        "and more shots do not help"
    )


def _below(result: RunResult) -> str | None:
    """Why a molecule's energy can lie below its exact reference: that is the lowest of its own electrons."""
    if result.error is None or result.predicted_bias is not None or result.reference_method is None:
        return None
    noise = _SIGMAS * (result.energy_std_error or 0.0)
    if not result.reference_method.startswith("FCI") or result.error > -max(noise, _ROUNDING):
        return None
    return "the ansatz has left the molecule's electrons: uccsd, kupccgsd and adapt keep their number"


def _disagreement(chi_square: float | None) -> str | None:
    if not chi_square:
        return None
    return f"chi square is {chi_square:.1f} per degree of freedom; the interval was widened for it"


def _precision(result: RunResult) -> str | None:
    if result.target_std_error is None or result.energy_std_error is None:
        return None
    return f"{result.energy_std_error:.1e} achieved, {result.target_std_error:.1e} asked for"
