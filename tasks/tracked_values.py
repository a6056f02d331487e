"""What MLflow is told of a run: metrics, scalar parameters, and the experiment that it belongs to. Pure."""

from __future__ import annotations

from typing import Any

from ledger import IterationRecord

_CHARACTERS_MAX = 500


def iteration_metrics(
    record: IterationRecord, totals: dict[str, int], *, tail: bool = False
) -> dict[str, float]:
    """One iteration; shots and cost as running totals.

    Args:
        tail: the record tells of a CVaR.
    """
    quantity = "cvar" if tail else "energy"
    values = {
        quantity: record.energy,
        f"{quantity}_std_error": record.energy_std_error,
        "gradient_norm": record.gradient_norm,
        "fidelity": record.fidelity,
        "shots": float(totals["shots"]),
        "cost_usd": totals["cost_micro_usd"] / 1e6,
    }
    return {key: value for key, value in values.items() if value is not None}


_FINAL = {
    "energy": "energy_best",
    "energy_std_error": "energy_best_std_error",
    "predicted_bias": "energy_predicted_bias",
    "error": "energy_error",
    "fidelity": "fidelity_final",
    "reference_energy": "energy_reference",
    "cut_value": "cut_value",
    "best_cut_value": "best_cut_value",
    "approximation_ratio": "approximation_ratio",
    "expected_approximation_ratio": "expected_approximation_ratio",
    "shots": "shots_total",
    "cost_usd": "cost_usd_total",
    "evaluations": "evaluations",
    "iterations": "iterations",
}


def final_metrics(result: dict[str, Any]) -> dict[str, float]:
    """A run's result, under names that MLflow's comparison of runs shows as last values."""
    return {key: float(result[name]) for name, key in _FINAL.items() if result.get(name) is not None}


def scalars(spec: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """The spec's scalars by dotted path; lists and long texts are in the spec artifact."""
    params: dict[str, str] = {}
    for key, value in spec.items():
        if isinstance(value, dict):
            params |= scalars(value, f"{prefix}{key}.")
        elif value is not None and not isinstance(value, list) and len(str(value)) <= _CHARACTERS_MAX:
            params[f"{prefix}{key}"] = str(value)
    return params


def experiment_name(spec: dict[str, Any]) -> str:
    """One experiment a family of problems: "molecule-H2", "maxcut"."""
    problem = spec["problem"]
    if problem["kind"] != "molecule":
        return str(problem["kind"])
    symbols = [
        atom.split()[0].capitalize()
        for atom in problem["geometry"].replace("\n", ";").split(";")
        if atom.strip()
    ]
    counts = {symbol: symbols.count(symbol) for symbol in sorted(set(symbols))}
    return "molecule-" + "".join(f"{s}{c if c > 1 else ''}" for s, c in counts.items())


def sees_means(spec: dict[str, Any], result: dict[str, Any]) -> bool:
    """Whether an iteration's energy is a mean around the point; of `auto` only a result knows."""
    asked = spec.get("optimizer", {})  # as an earlier version wrote it, perhaps
    ways = [asked.get("name", ""), asked.get("gradient", ""), *result.get("method", {}).values()]
    return any(way.startswith("spsa") for way in ways)
