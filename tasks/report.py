"""A comparison as one HTML file that needs nothing else: styles and plots are inside, there is no script."""

from __future__ import annotations

from datetime import UTC, datetime

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from shotwise.words import duration
from tasks.compare import Comparison, RunView
from tasks.comparison_plots import colour, convergence_svg, energy_against_cost_svg, spending_svg
from tasks.interval import told


def html_report(comparison: Comparison) -> str:
    """The report; everything that comes from a spec or a run is escaped."""
    environment = Environment(loader=PackageLoader("tasks"), autoescape=True, undefined=StrictUndefined)
    environment.trim_blocks = environment.lstrip_blocks = True
    environment.filters |= {
        "energy": energy_text,
        "duration": duration,
        "error": error_text,
        "bias": bias_text,
    }
    spent = comparison.paid or any(run.shots_total for run in comparison.runs)
    return environment.get_template("report.html.j2").render(
        comparison=comparison,
        runs=comparison.runs,
        colours=[colour(at) for at in range(len(comparison.runs))],
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        # markup of our own: matplotlib escapes every text in it
        convergence=Markup(convergence_svg(comparison)),
        cost=Markup(energy_against_cost_svg(comparison)) if spent else None,
        spending=Markup(spending_svg(comparison)) if spent else None,
    )


def energy_text(run: RunView) -> str:
    """An energy with its 95 % interval."""
    return told(run.energy, run.energy_std_error, run.unit)


def error_text(run: RunView) -> str:
    """The energy above its reference, in mHa for molecules, with its 95 % interval where it has one."""
    scale, unit = (1e3, "mHa") if run.unit == "Ha" else (1.0, "")
    error = None if run.error is None else scale * run.error
    return told(error, scale * run.energy_std_error, unit, signed=True)


def bias_text(run: RunView) -> str:
    """What the devices' calibration predicted to lie beside the interval."""
    if not run.predicted_bias:
        return "–"
    return f"about {run.predicted_bias:.1e}{f' {run.unit}' if run.unit else ''}"
