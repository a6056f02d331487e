"""The picture and the tables of one run, from its journal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ledger import IterationRecord
from tasks.interval import half_width

if TYPE_CHECKING:
    import pandas as pd

_MARGINS = {"left": 0.15, "right": 0.97, "bottom": 0.12, "top": 0.92}
"""Of the convergence plot: room for "-107.6575". Having matplotlib find them costs another drawing."""


def iteration_table(
    records: Sequence[IterationRecord], *, pilot: bool = False, tail: bool = False
) -> pd.DataFrame:
    """One row an iteration; shots, evaluations and cost are running totals; vectors are left out.

    Args:
        pilot: the first record is the pilot's: it gets no row, and the totals hold what it took.
        tail: the records tell of a CVaR; its columns are called so.
    """
    import pandas as pd

    table = pd.DataFrame([{k: v for k, v in vars(r).items() if k != "parameters"} for r in records])
    if table.empty:
        return table
    table["time"] = pd.to_datetime(table.pop("at_us"), unit="us", utc=True)
    table["cost_usd"] = table.pop("cost_micro_usd").cumsum() / 1e6
    for column in ("shots", "evaluations"):
        table[column] = table[column].cumsum()
    if tail:
        table = table.rename(columns={"energy": "cvar", "energy_std_error": "cvar_std_error"})
    return table.iloc[1:] if pilot else table


def parameter_table(records: Sequence[IterationRecord]) -> list[np.ndarray]:
    """Parameters of every iteration, float64 vectors; their length grows with an adaptive ansatz."""
    return [np.frombuffer(record.parameters, dtype="<f8") for record in records]


def plot_convergence(
    records: Sequence[IterationRecord],
    path: Path,
    *,
    title: str,
    unit: str,
    reference: float | None,
    around: bool = False,
    tail: bool = False,
) -> None:
    """Energy with 95 % error bars against iteration, the reference as a line; written as PNG.

    Args:
        around: whether the energies are means over displaced points, as simultaneous perturbation sees them.
        tail: whether they are CVaRs.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    quantity = "CVaR" if tail else "energy"
    name = f"mean {quantity} around the point" if around else quantity
    figure = Figure(figsize=(7, 4.2))
    FigureCanvasAgg(figure)
    figure.subplots_adjust(**_MARGINS)
    axes = figure.add_subplot()
    at = [r.iteration for r in records]
    energy = np.array([r.energy for r in records])
    bars = half_width(np.array([r.energy_std_error for r in records]))
    if bars.any():
        axes.errorbar(
            at, energy, yerr=bars, fmt=".", color="#1f5fa8", ecolor="#9dc1e8", label=f"{name}, 95 %"
        )
    else:
        axes.plot(at, energy, color="#1f5fa8", label=name)
    if reference is not None:
        axes.axhline(reference, color="#b3402a", linestyle="--", linewidth=1, label="reference")
    axes.set_xlabel("iteration")
    axes.set_ylabel(f"{name} ({unit})" if unit else name)
    axes.set_title(title)
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
