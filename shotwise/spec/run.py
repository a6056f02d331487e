"""`RunSpec`: everything one run needs, as the user writes it. Frozen; its canonical JSON is its identity."""

from __future__ import annotations

import hashlib
import json
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, Strict, field_validator, model_validator

from shotwise.spec.model import Section
from shotwise.spec.objective import CvarObjective, ExpectationObjective, ObjectiveSpec
from shotwise.spec.problem import MaxCutSpec, MoleculeSpec, PauliSpec, ProblemSpec
from shotwise.spec.scan import BondScan, LayersScan, ScanSpec

Layers = Annotated[int, Field(ge=1, le=1000)]


class _Started(Section):
    """An ansatz with parameters that start somewhere.

    `start` names a rule, or `run:RUN_ID`: the final parameters of an earlier run. `parameters`, in radians,
    are given outright or are what an earlier run's were found to be; where they stand, they are the start.
    """

    parameters: Annotated[tuple[float, ...], Strict(False)] | None = Field(
        default=None, min_length=1, max_length=1_000_000, exclude_if=lambda given: given is None
    )


Symmetry = Literal["none", "spatial"]


class UccsdAnsatz(_Started):
    """Unitary coupled cluster with singles and doubles, first-order Trotter (arXiv:1805.04340).

    Starts at Hartree-Fock (all zero), or at the amplitudes of MP2 or CCSD. `symmetry: spatial` leaves out
    amplitudes that the molecule's symmetry forbids: they would stay zero (arXiv:2109.02110).
    """

    kind: Literal["uccsd"]
    symmetry: Symmetry = Field(default="none", exclude_if=lambda kind: kind == "none")
    start: str = Field(
        default="hartree_fock",
        pattern=r"^(hartree_fock|mp2|ccsd|run:[A-Za-z0-9._-]{1,100})$",
        exclude_if=lambda start: start == "hartree_fock",
    )


class AdaptAnsatz(Section):
    """ADAPT-VQE: grown one excitation at a time by gradient (arXiv:1812.11173).

    After every growth the parameters move for up to `optimizer.max_iterations`. It ends when no excitation of
    the pool has a gradient above `gradient_tolerance` (or above its noise), or at `operators_max`. `symmetry:
    spatial` leaves out of the pool what the molecule's symmetry forbids.
    """

    kind: Literal["adapt"]
    symmetry: Symmetry = Field(default="none", exclude_if=lambda kind: kind == "none")
    gradient_tolerance: float = Field(default=1e-3, gt=0)
    operators_max: int = Field(default=40, ge=1, le=1000)


class KUpccgsdAnsatz(Section):
    """k-UpCCGSD: `k` layers of generalized singles and paired doubles (arXiv:1810.02327)."""

    kind: Literal["kupccgsd"]
    k: Layers = 1


class HardwareEfficientAnsatz(_Started):
    """Layers of RY and RZ on every qubit and ZZ(pi/2) entanglers along a line (arXiv:1704.05018)."""

    kind: Literal["hardware_efficient"]
    layers: Layers = 2
    start: str = Field(
        default="random",
        pattern=r"^(random|run:[A-Za-z0-9._-]{1,100})$",
        exclude_if=lambda start: start == "random",
    )


class WarmStart(Section):
    """QAOA from a biased product state, with the mixer that keeps it (arXiv:2009.10095).

    Qubit i starts with the probability 1 - epsilon of its side in the Goemans-Williamson solution; at
    epsilon 0.5 this is ordinary QAOA.
    """

    epsilon: float = Field(default=0.25, gt=0, le=0.5)


class QaoaAnsatz(_Started):
    """Alternating cost and transverse-field layers on |+...+> (arXiv:1411.4028).

    `start`: `fixed` angles of regular trees, for unweighted regular cuts; a linear `ramp`; `auto` is fixed
    where there are such angles, else ramp. Angles of a shallower run are interpolated (arXiv:1812.01041).
    """

    kind: Literal["qaoa"]
    layers: Layers = 1
    start: str = Field(
        default="auto",
        pattern=r"^(auto|fixed|ramp|run:[A-Za-z0-9._-]{1,100})$",
        exclude_if=lambda start: start == "auto",
    )
    warm_start: WarmStart | None = Field(default=None, exclude_if=lambda given: given is None)


class RqaoaAnsatz(Section):
    """Recursive QAOA: spins are eliminated one by one until `cutoff` are left (arXiv:1910.08980).

    One layer, whose angles and correlations are known in closed form at any size: no circuit runs.
    """

    kind: Literal["rqaoa"]
    cutoff: int = Field(default=12, ge=1, le=20)


AnsatzSpec = Annotated[
    UccsdAnsatz | KUpccgsdAnsatz | AdaptAnsatz | HardwareEfficientAnsatz | QaoaAnsatz | RqaoaAnsatz,
    Field(discriminator="kind"),
]


class ScheduleSpec(Section):
    """How the learning rate moves: `constant`, or an Optax schedule over the run's iterations."""

    kind: Literal["constant", "exponential_decay", "cosine_decay", "linear", "warmup_cosine"] = "constant"
    decay_rate: float = Field(default=0.5, gt=0, le=1)
    end_value: float = Field(default=0.0, ge=0)
    warmup_iterations: int = Field(default=10, ge=1)


SHOTS_MAX = 10**9
"""Of one energy."""
SHOT_CHOOSERS = ("bayes_newton", "gcans", "icans", "cost_cans")
"""Optimizers that choose the shots of every point that they ask for."""


class OptimizerSpec(Section):
    """How parameters move and when to stop.

    `name` is any Optax optimizer (adam, sgd, adamw, ...), one of lbfgs, spsa, qng, rotosolve, or one that
    chooses its own shots: bayes_newton, gcans, icans, cost_cans. `auto` is bayes_newton under adaptive shots
    and adam otherwise. `gradient` says how sampled gradients are got. `options` go to the optimizer by name.
    `tolerance` is in the problem's energy unit.
    """

    name: str = Field(default="auto", max_length=40)
    gradient: Literal["auto", "parameter_shift", "coordinates", "spsa"] = "auto"
    learning_rate: float | None = Field(default=None, gt=0)
    schedule: ScheduleSpec = ScheduleSpec()
    max_iterations: int = Field(default=200, ge=1, le=1_000_000)
    tolerance: float = Field(default=1e-7, ge=0)
    options: dict[str, float | bool] = Field(default_factory=dict)


class ExactExecution(Section):
    """Energies and gradients without sampling noise."""

    mode: Literal["exact"]
    device: str = Field(default="jax", max_length=64)


PolicyName = Literal[
    "balanced", "cheapest", "fastest", "least_busy", "best_fidelity", "explore_exploit", "ensemble"
]


Technique = Literal["readout", "zne", "twirling", "symmetry"]


FREE_DEVICE = "jax"


class ShotsExecution(Section):
    """Energies estimated from samples.

    `shots` are spent on every energy evaluation, over all its groups; or `target_std_error` says what
    standard error an energy shall have, in the problem's unit. With `shot_policy: adaptive` (short: `policy:
    adaptive`) the optimizer chooses the shots of every iteration, and the two are for the final energy alone.

    `device` names one device. With `policy` the dispatcher routes every batch over `devices` (default: all
    that the catalog enables) instead; `devices` alone are routed over by `balanced`. Devices whose
    calibration is missing, in the future, impossible, or older than `stale_after_s` are not used unless
    `allow_bad_calibration`. `grouping` says which Pauli terms are read from the same shots.
    """

    mode: Literal["shots"]
    shots: int | None = Field(default=None, ge=1, le=SHOTS_MAX)
    target_std_error: float | None = Field(default=None, ge=1e-15)
    shot_policy: Literal["fixed", "adaptive"] = "fixed"
    grouping: Literal["auto", "qubit_wise", "overlapping", "fully_commuting", "fewest"] = "auto"
    device: str = Field(default=FREE_DEVICE, max_length=64)
    policy: PolicyName | None = None
    devices: Annotated[tuple[str, ...], Strict(False)] | None = Field(
        default=None, min_length=1, max_length=1000
    )
    stale_after_s: float = Field(default=86_400.0, gt=0)
    allow_bad_calibration: bool = False
    mitigation: Literal["none", "auto"] | Annotated[tuple[Technique, ...], Strict(False)] = "none"
    """What corrects device errors; `auto` uses what is predicted to pay at the same number of shots."""
    readout_from: Literal["device", "snapshot"] = "device"
    """Whether readout errors are measured, or taken from the published calibration."""

    @field_validator("devices", "mitigation")
    @classmethod
    def _named_once(cls, named: tuple[str, ...] | str | None) -> tuple[str, ...] | str | None:
        twice = [name for name in named if named.count(name) > 1] if isinstance(named, tuple) else []
        if twice:
            raise ValueError(f"{twice[0]} is named twice; name it once")
        return named

    @model_validator(mode="before")
    @classmethod
    def _written_short(cls, given: object) -> object:
        """`policy: adaptive` is about shots, every other policy about devices; several are `balanced`."""
        if not isinstance(given, dict):
            return given
        if given.get("policy") == "adaptive":
            given = {**{k: v for k, v in given.items() if k != "policy"}, "shot_policy": "adaptive"}
        return {"policy": "balanced", **given} if given.get("devices") else given

    @model_validator(mode="after")
    def _knows_how_many(self) -> ShotsExecution:
        if self.shots is not None and self.target_std_error is not None:
            raise ValueError("give shots or target_std_error, not both")
        if self.shots is None and self.target_std_error is None and not self.adaptive:
            raise ValueError("shots are missing: give shots, target_std_error or policy: adaptive")
        return self

    @property
    def adaptive(self) -> bool:
        return self.shot_policy == "adaptive"


ExecutionSpec = Annotated[ExactExecution | ShotsExecution, Field(discriminator="mode")]


class BudgetSpec(Section):
    """Hard limits of one run; None is no limit."""

    shots: int | None = Field(default=None, ge=1, le=2**62)
    usd: float | None = Field(default=None, ge=0, le=1e9)
    wall_s: float | None = Field(default=None, gt=0)

    @property
    def micro_usd(self) -> int | None:
        """The limit in money as the ledger counts it; parts of a micro-USD are left out."""
        return None if self.usd is None else int(Decimal(str(self.usd)) * 1_000_000)


AccountName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


class AccountSpec(Section):
    """Who pays: a run spends from its own budget, its project's and its tenant's."""

    tenant: AccountName = "default"
    project: AccountName = "default"

    def of_run(self, run_id: str) -> str:
        """The account of a run."""
        return f"{self.tenant}/{self.project}/{run_id}"


_EXPECTATION_ONLY = ("rotosolve", "qng", *SHOT_CHOOSERS)
"""Optimizers that fit an expectation, or set shots by its variance."""


class RunSpec(Section):
    """One run, whole."""

    version: Literal[1] = 1
    name: str = Field(default="run", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    problem: ProblemSpec
    ansatz: AnsatzSpec
    optimizer: OptimizerSpec = OptimizerSpec()
    execution: ExecutionSpec = ExactExecution(mode="exact")
    budget: BudgetSpec = BudgetSpec()
    account: AccountSpec = AccountSpec()
    seed: int = Field(default=0, ge=0, le=2**63 - 1)
    objective: ObjectiveSpec = Field(
        default=ExpectationObjective(), exclude_if=lambda given: given == ExpectationObjective()
    )
    scan: ScanSpec | None = Field(default=None, exclude_if=lambda given: given is None)

    @property
    def flow(self) -> Literal["vqe", "qaoa", "rqaoa", "scan"]:
        """The flow that runs it."""
        if self.scan is not None:
            return "scan"
        if isinstance(self.ansatz, RqaoaAnsatz):
            return "rqaoa"
        return "qaoa" if isinstance(self.ansatz, QaoaAnsatz) else "vqe"

    @model_validator(mode="after")
    def _ansatz_fits(self) -> RunSpec:
        molecule = isinstance(self.problem, MoleculeSpec)
        if isinstance(self.ansatz, UccsdAnsatz | KUpccgsdAnsatz | AdaptAnsatz) and not molecule:
            raise ValueError(
                f"ansatz.kind {self.ansatz.kind} needs a molecule, the problem is {self.problem.kind}"
            )
        if isinstance(self.ansatz, QaoaAnsatz) and (molecule or isinstance(self.problem, PauliSpec)):
            raise ValueError(
                f"ansatz.kind qaoa needs maxcut, qubo or ising, the problem is {self.problem.kind}"
            )
        return self

    @model_validator(mode="after")
    def _objective_fits(self) -> RunSpec:
        if not isinstance(self.objective, CvarObjective):
            return self
        if isinstance(self.problem, MoleculeSpec | PauliSpec):
            raise ValueError(f"objective.kind cvar needs maxcut, qubo or ising, not {self.problem.kind}")
        if self.optimizer.name in _EXPECTATION_ONLY:
            raise ValueError(
                f"optimizer.name {self.optimizer.name} models an expectation, objective.kind cvar is none; "
                "use spsa, adam or lbfgs"
            )
        if isinstance(self.execution, ExactExecution) and self.execution.device != "jax":
            raise ValueError(f"an exact cvar needs execution.device jax, not {self.execution.device}")
        if isinstance(self.execution, ShotsExecution):
            if self.execution.shots is None or self.execution.adaptive:
                raise ValueError("objective.kind cvar needs a number of shots; give execution.shots alone")
            self.objective.check_shots(self.execution.shots)
        return self

    @model_validator(mode="after")
    def _recursion_fits(self) -> RunSpec:
        if not isinstance(self.ansatz, RqaoaAnsatz):
            return self
        if isinstance(self.problem, MoleculeSpec | PauliSpec):
            raise ValueError(f"ansatz.kind rqaoa needs maxcut, qubo or ising, not {self.problem.kind}")
        if not isinstance(self.execution, ExactExecution):
            raise ValueError("ansatz.kind rqaoa runs no circuits; use execution: {mode: exact}")
        if self.optimizer != OptimizerSpec() or self.objective != ExpectationObjective():
            raise ValueError("ansatz.kind rqaoa finds its angles itself; remove optimizer and objective")
        return self

    @model_validator(mode="after")
    def _scan_fits(self) -> RunSpec:
        if isinstance(self.scan, BondScan):
            if not isinstance(self.problem, MoleculeSpec):
                raise ValueError(f"scan.bond needs a molecule, the problem is {self.problem.kind}")
            if not isinstance(self.ansatz, UccsdAnsatz | HardwareEfficientAnsatz):
                raise ValueError(
                    f"scan.bond needs uccsd or hardware_efficient: {self.ansatz.kind} starts anew each time"
                )
        if isinstance(self.scan, LayersScan) and not isinstance(self.ansatz, QaoaAnsatz):
            raise ValueError(f"scan.layers needs ansatz.kind qaoa, not {self.ansatz.kind}")
        return self

    def inline(self, folder: Path) -> RunSpec:
        """The same spec with every file it names read into it."""
        return self.model_copy(update={"problem": self.problem.inline(folder)})

    def canonical_json(self) -> str:
        """The spec as JSON with sorted keys: equal specs give equal text."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))

    @property
    def is_cut(self) -> bool:
        return isinstance(self.problem, MaxCutSpec)

    def problem_sha256(self) -> str:
        """Identity of the problem alone: runs that share it can be compared."""
        text = json.dumps(self.problem.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()
