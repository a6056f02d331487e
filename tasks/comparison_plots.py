"""Plots of a comparison as SVG that stands inside an HTML page."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

from ledger import RunState
from tasks.compare import Comparison, RunView
from tasks.interval import half_width

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#1f5fa8", "#d1602b", "#2e8b67", "#a8579b", "#b58a1b", "#4fa5c8", "#7a5a46", "#667085")
"""One a run, told apart by colour-blind readers as far as eight can be; after that they repeat."""
CHEMICAL_ACCURACY_HA = 1.6e-3
_BARS_MAX = 80
_POINTS_MAX = 500
_STYLE = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#98a2b3",
    "axes.labelcolor": "#344054",
    "xtick.color": "#475467",
    "ytick.color": "#475467",
    "grid.color": "#eaecf0",
    "axes.grid": True,
    "axes.axisbelow": True,
    "legend.frameon": False,
}


def colour(at: int) -> str:
    """The colour of the run at a place."""
    return COLOURS[at % len(COLOURS)]


def convergence_svg(comparison: Comparison) -> str:
    """Energy against iteration with 95 % error bars, a band where there are too many for bars.

    Where the problems differ it is the energy above each run's reference; runs without one are left out.
    """

    def draw(axes: Axes) -> None:
        for at, run in enumerate(comparison.runs):
            base = 0.0 if comparison.comparable else run.reference
            if base is not None:
                _draw_energies(axes, run, np.arange(1, run.iterations + 1), base, colour(at))
                _draw_final(axes, run, run.iterations + 1, base, colour(at))
        _draw_reference(axes, comparison)
        axes.set_xlabel("iteration")
        axes.set_ylabel(_energy_label(comparison))

    return _svg("convergence", draw, height=3.7)


def energy_against_cost_svg(comparison: Comparison) -> str:
    """Energy against what had been spent by then: dollars, or shots where nothing cost anything."""

    def draw(axes: Axes) -> None:
        for at, run in enumerate(comparison.runs):
            base = 0.0 if comparison.comparable else run.reference
            spent = run.cost_usd if comparison.paid else run.shots
            if base is not None and run.iterations and spent[-1] > 0:
                _draw_energies(axes, run, spent, base, colour(at))
                total = run.cost_micro_usd / 1e6 if comparison.paid else run.shots_total
                _draw_final(axes, run, total, base, colour(at))
        _draw_reference(axes, comparison)
        axes.set_xlabel("spent (USD)" if comparison.paid else "shots spent")
        axes.xaxis.set_major_formatter("{x:,.4g}" if comparison.paid else "{x:,.0f}")
        axes.set_ylabel(_energy_label(comparison))

    return _svg("cost", draw, height=3.4)


def spending_svg(comparison: Comparison) -> str:
    """Shots, and dollars where there are any, by run and device, as stacked bars."""
    from matplotlib.ticker import MaxNLocator

    names = sorted({d.device for run in comparison.runs for d in run.devices})
    shades = {name: COLOURS[(at + 3) % len(COLOURS)] for at, name in enumerate(names)}
    parts = [("shots", "shots", 1.0)] + [("cost_micro_usd", "USD", 1e-6)] * comparison.paid

    def draw(*every: Axes) -> None:
        for axes, (field, label, scale) in zip(every, parts, strict=True):
            left = np.zeros(len(comparison.runs))
            for name in names:
                widths = np.array(
                    [
                        scale * sum(getattr(d, field) for d in run.devices if d.device == name)
                        for run in comparison.runs
                    ]
                )
                axes.barh(range(len(widths)), widths, left=left, height=0.55, color=shades[name], label=name)
                left += widths
            axes.set_yticks(range(len(left)), [run.run_id for run in comparison.runs])
            axes.invert_yaxis()
            axes.grid(axis="y", visible=False)
            axes.set_xlabel(label)
            axes.xaxis.set_major_formatter("{x:,.0f}" if scale == 1.0 else "{x:,.4g}")
            axes.xaxis.set_major_locator(MaxNLocator(5))
        every[-1].tick_params(labelleft=len(every) == 1)
        every[0].figure.legend(*every[0].get_legend_handles_labels(), loc="outside upper right", ncols=4)

    return _svg("spending", draw, height=1.1 + 0.38 * len(comparison.runs), columns=len(parts))


def _draw_energies(axes: Axes, run: RunView, at: np.ndarray, base: float, colour: str) -> None:
    kept = np.unique(np.linspace(0, run.iterations - 1, min(run.iterations, _POINTS_MAX)).astype(int))
    x, y, bars = at[kept], run.energies[kept] - base, half_width(run.std_errors[kept])
    if not bars.any():
        axes.plot(x, y, color=colour, linewidth=1.6)
    elif len(kept) <= _BARS_MAX:
        axes.errorbar(
            x, y, yerr=bars, fmt="o-", markersize=2.5, linewidth=1, color=colour, elinewidth=1, capsize=0
        )
    else:
        axes.plot(x, y, color=colour, linewidth=1)
        axes.fill_between(x, y - bars, y + bars, color=colour, alpha=0.18, linewidth=0)


def _draw_final(axes: Axes, run: RunView, at: float, base: float, colour: str) -> None:
    """The independent evaluation that a sampled run ends with, as a diamond."""
    if run.energy is not None and run.energy_std_error and run.state is RunState.COMPLETED:
        axes.errorbar(
            [at],
            [run.energy - base],
            yerr=half_width(run.energy_std_error),
            fmt="D",
            markersize=6,
            color=colour,
            markerfacecolor="white",
            zorder=3,
        )


def _draw_reference(axes: Axes, comparison: Comparison) -> None:
    references = {run.reference for run in comparison.runs if run.reference is not None}
    if not references:
        return
    level = references.pop() if comparison.comparable else 0.0
    axes.axhline(level, color="#101828", linestyle=(0, (5, 4)), linewidth=1)
    axes.annotate(
        "reference",
        (1, level),
        xycoords=("axes fraction", "data"),
        xytext=(4, 0),
        textcoords="offset points",
        va="center",
        color="#475467",
        fontsize=9,
    )
    if all(run.unit == "Ha" for run in comparison.runs):
        axes.axhspan(
            level - CHEMICAL_ACCURACY_HA,
            level + CHEMICAL_ACCURACY_HA,
            color="#12b76a",
            alpha=0.13,
            linewidth=0,
        )


def _energy_label(comparison: Comparison) -> str:
    units = {run.unit for run in comparison.runs}
    unit = f" ({units.pop()})" if len(units) == 1 and units != {""} else ""
    name = "CVaR" if all(run.tail for run in comparison.runs) else "energy"
    name += " or CVaR" if name == "energy" and any(run.tail for run in comparison.runs) else ""
    return (name if comparison.comparable else f"{name} above reference") + unit


def _svg(name: str, draw, *, height: float, columns: int = 1) -> str:
    """Draw a figure; its ids are its own, so that several stand on one page."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with rc_context({**_STYLE, "svg.hashsalt": name}):  # pyright: ignore[reportArgumentType]
        figure: Figure = Figure(figsize=(9.4, height), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.subplots(1, columns, squeeze=False)[0]
        draw(*axes)
        text = io.StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(text, format="svg", transparent=True, metadata=nothing)
    svg = text.getvalue()
    return svg[svg.index("<svg") :]
