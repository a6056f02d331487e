"""The state of a loop between two iterations, and its stored form."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np

from measurement import GroupVariances
from optimizers import Reason
from shotwise.arrays import pack, unpack
from shotwise.errors import RunFailedError
from tasks.prepared import Prepared

FORMAT = 2


@dataclass(frozen=True)
class Sample:
    """A basis state that was seen, and its energy."""

    energy: float
    state: int


@dataclass(frozen=True, eq=False)
class LoopState:
    """Everything the next iteration depends on.

    Attributes:
        iteration: number of the next iteration.
        operators: pool indices that an adaptive ansatz has grown.
        growing: the next iteration looks for an operator to grow, rather than moving parameters.
        optimizer, termination: their states, pytrees of arrays.
        parameters: shape (d,), of the last evaluation; where an adaptive ansatz goes on from.
        grouping: name of the grouping that the run measures in; None where energies are exact.
        final_grouping: the same of its final evaluation.
        group_variances: what is known of its groups; None where energies are exact.
        centre_group_variances: the same at the points where the run stands, without their shifted neighbours.
        piloting: the next iteration only learns the groups' variances at the start.
        pilot_shots, pilot_micro_usd: what that took.
        best: lowest exact energy so far and its parameters; None where energies are sampled.
        sample: best basis state seen in the whole run (diagonal problems).
        shots, evaluations, cost_micro_usd: spent so far.
        reason: why the optimization ended, None while it goes on.
    """

    iteration: int
    operators: tuple[int, ...]
    growing: bool
    optimizer: Any
    termination: Any
    parameters: np.ndarray
    grouping: str | None = None
    final_grouping: str | None = None
    group_variances: GroupVariances | None = None
    centre_group_variances: GroupVariances | None = None
    piloting: bool = False
    pilot_shots: int = 0
    pilot_micro_usd: int = 0
    best: tuple[float, np.ndarray] | None = None
    sample: Sample | None = None
    shots: int = 0
    evaluations: int = 0
    cost_micro_usd: int = 0
    reason: Reason | None = None

    @property
    def iterations(self) -> int:
        """Iterations done as a person counts them: the pilot comes on top."""
        return self.iteration - (self.pilot_shots > 0)

    @property
    def variances(self) -> GroupVariances:
        """The groups' single-shot variances as far as they are known, in a sampled run."""
        assert self.group_variances is not None, "only sampled runs have groups"
        return self.group_variances

    @property
    def centre_variances(self) -> GroupVariances:
        """The groups' single-shot variances where the run stands."""
        assert self.centre_group_variances is not None, "only sampled runs have groups"
        return self.centre_group_variances

    def with_sample(self, sample: Sample | None) -> LoopState:
        """Keep the better of two samples; the earlier one where they tie."""
        better = sample is not None and (self.sample is None or sample.energy < self.sample.energy)
        return replace(self, sample=sample) if better else self


def initial(prepared: Prepared) -> LoopState:
    """The state before the first iteration."""
    parameters = prepared.initial_parameters
    optimizer, termination = prepared.stage().start(parameters, prepared.spec.seed)
    return LoopState(
        0,
        (),
        prepared.ansatz.pool is not None,
        optimizer,
        termination,
        parameters,
        grouping=prepared.grouping.kind if prepared.sampled else None,
        final_grouping=prepared.at_end.grouping.kind if prepared.sampled else None,
        group_variances=prepared.shifted_prior_variances if prepared.sampled else None,
        centre_group_variances=prepared.prior_variances if prepared.sampled else None,
        piloting=prepared.needs_pilot,
    )


def at_end(prepared: Prepared, state: LoopState) -> tuple[Prepared, LoopState]:
    """A run as its final evaluation sees it: of groups of its own, nothing was learned before."""
    last = prepared.at_end
    if last is prepared:
        return prepared, state
    prior = last.prior_variances
    return last, replace(state, group_variances=prior, centre_group_variances=prior)


def to_bytes(state: LoopState) -> bytes:
    """A JSON header and the arrays; see `shotwise.arrays`."""
    header = {
        "format": FORMAT,
        "iteration": state.iteration,
        "operators": state.operators,
        "growing": state.growing,
        "grouping": state.grouping,
        "final_grouping": state.final_grouping,
        "piloting": state.piloting,
        "pilot_shots": state.pilot_shots,
        "pilot_micro_usd": state.pilot_micro_usd,
        "best_energy": state.best[0] if state.best else None,
        "sample": [state.sample.energy, state.sample.state] if state.sample else None,
        "shots": state.shots,
        "evaluations": state.evaluations,
        "cost_micro_usd": state.cost_micro_usd,
        "reason": state.reason,
    }
    leaves = jax.tree.leaves((state.optimizer, state.termination))
    arrays = {f"leaf_{at:03d}": np.asarray(leaf) for at, leaf in enumerate(leaves)}
    arrays |= {"header": np.array(json.dumps(header)), "parameters": state.parameters}
    for name, variances in (("scatter", state.group_variances), ("centre", state.centre_group_variances)):
        if variances is not None:
            arrays |= {f"{name}_squares": variances.squares, f"{name}_shots": variances.shots}
    if state.best:
        arrays["best_parameters"] = state.best[1]
    return pack(arrays)


def from_bytes(prepared: Prepared, data: bytes) -> LoopState:
    """Read `to_bytes` back; never unpickles.

    Raises:
        RunFailedError: written by a version whose states differ.
    """
    arrays = unpack(data)
    header = json.loads(str(arrays["header"]))
    operators = tuple(header["operators"])
    parameters = arrays["parameters"]
    template = prepared.stage(operators).start(
        np.zeros(prepared.stage(operators).circuit.n_parameters), prepared.spec.seed
    )
    expected, structure = jax.tree.flatten(template)
    leaves = [arrays[name] for name in sorted(arrays) if name.startswith("leaf_")]
    same = len(leaves) == len(expected) and all(
        a.shape == b.shape and a.dtype == b.dtype for a, b in zip(leaves, expected, strict=True)
    )
    if header["format"] != FORMAT or not same:
        raise RunFailedError(
            "the checkpoint was written by another version of Shotwise; resume it with that version"
        )
    optimizer, termination = jax.tree.unflatten(structure, [jax.numpy.asarray(leaf) for leaf in leaves])
    return LoopState(
        iteration=header["iteration"],
        operators=operators,
        growing=header["growing"],
        optimizer=optimizer,
        termination=termination,
        parameters=parameters,
        grouping=header["grouping"],
        final_grouping=header.get("final_grouping", header["grouping"]),
        group_variances=_group_variances(arrays, "scatter"),
        centre_group_variances=_group_variances(arrays, "centre"),
        piloting=header["piloting"],
        pilot_shots=header["pilot_shots"],
        pilot_micro_usd=header["pilot_micro_usd"],
        best=(header["best_energy"], arrays["best_parameters"]) if "best_parameters" in arrays else None,
        sample=Sample(header["sample"][0], header["sample"][1]) if header["sample"] else None,
        shots=header["shots"],
        evaluations=header["evaluations"],
        cost_micro_usd=header["cost_micro_usd"],
        reason=Reason(header["reason"]) if header["reason"] else None,
    )


def _group_variances(arrays: dict[str, np.ndarray], name: str) -> GroupVariances | None:
    if f"{name}_squares" not in arrays:
        return None
    return GroupVariances(arrays[f"{name}_squares"], arrays[f"{name}_shots"])
