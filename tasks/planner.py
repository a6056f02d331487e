"""What a run would do, without running it: circuits, shots, devices with predictions, what it costs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from backends.dispatch import Decision, RoutingRequest
from ledger import Ledger, dollars
from measurement import ExecutionPlan
from shotwise.errors import CannotRunError, UnreachableError
from tasks.evaluate import plan_iteration
from tasks.last_look import SHARE
from tasks.measurement_basis import mixed_deviation
from tasks.mitigation import calibration_quote, choice
from tasks.prepared import Prepared
from tasks.result import final_plan, method_of
from tasks.routing import (
    NOTHING,
    decide,
    final_request,
    money_limits,
    no_room,
    with_final_reserved,
    worst_case_micro_usd,
)
from tasks.state import at_end, initial


@dataclass(frozen=True)
class RunPlan:
    """The plan of a run.

    Attributes:
        circuits, shots: of one iteration; `groups` measurement bases an energy (`final_groups` of the final
            evaluation), `energies` an iteration. The shots follow the groups' expected variances, where a
            target error sets them.
        pilot_shots, pilot_micro_usd: of the batch that first learns the groups' variances, 0 where
            there is none, and its worst case.
        iterations_max: at most.
        std_error: of the final energy, from the groups' expected variances.
        final_shots: of the final evaluation.
        look_shots: about how many may be taken beside them, where they are planned by variances that few
            shots tell; taken only if the budget has room for twice the final evaluation.
        adaptive: whether iterations differ, because the optimizer chooses their shots or the circuit grows;
            those of the first are given, and no worst case is known but the budget.
        optimization_shots: about how many all iterations together will take.
        method: optimizer, gradient and grouping, with reasons.
        decision, final_decision: where the first batch and the final evaluation would go, with every
            candidate's score; None for free local runs.
        iteration_micro_usd, final_micro_usd: worst cases of one iteration and of the final evaluation, with
            the shots that are planned.
        points: of the scan that the run is, each planned as the first; 1 for any other run.
        iterations_affordable: such iterations, of all points, that the budgets allow beside all else; None
            without a limit.
        refusal: why nothing can run it, None where something can.
        mitigation: what would be picked on the route and why, None where nothing is asked for.
        calibration_shots, calibration_micro_usd: worst case of one readout calibration of every device on the
            route.
    """

    n_qubits: int
    parameters: int
    groups: int
    final_groups: int
    energies: int
    circuits: int
    shots: int
    iterations_max: int
    std_error: float
    final_shots: int
    adaptive: bool
    optimization_shots: int
    method: dict[str, str]
    pilot_shots: int = 0
    look_shots: int = 0
    decision: Decision | None = None
    final_decision: Decision | None = None
    iteration_micro_usd: int = 0
    final_micro_usd: int = 0
    pilot_micro_usd: int = 0
    calibration_shots: int = 0
    calibration_micro_usd: int = 0
    mitigation: str | None = None
    seconds: float = 0.0
    points: int = 1
    iterations_affordable: int | None = None
    refusal: str | None = None

    @property
    def estimated(self) -> bool:
        """Whether only the budget is a bound: variances that are measured later change the shots, or points
        of a scan differ from the first."""
        return self.adaptive or self.pilot_shots > 0 or self.points > 1

    @property
    def expected_micro_usd(self) -> int | None:
        """The whole run at the planned shots; None where the optimizer chooses how many iterations have."""
        each = self.point_micro_usd
        return None if each is None else self.points * each

    @property
    def point_micro_usd(self) -> int | None:
        """As `expected_micro_usd`, of one point."""
        if self.adaptive and self.iteration_micro_usd:
            return None
        return self.iterations_max * self.iteration_micro_usd + self.fixed_micro_usd

    @property
    def expected_shots(self) -> int:
        """Of the whole run, with every iteration that it may have."""
        return self.points * self.point_shots

    @property
    def point_shots(self) -> int:
        """As `expected_shots`, of one point."""
        return self.optimization_shots + self.fixed_shots

    @property
    def worst_case_micro_usd(self) -> int | None:
        """The whole run at the worst case of the route; None where only the budget bounds it."""
        return None if self.estimated and self.iteration_micro_usd else self.expected_micro_usd

    @property
    def worst_case_shots(self) -> int | None:
        return None if self.estimated else self.expected_shots

    @property
    def fixed_micro_usd(self) -> int:
        """All but the iterations: pilot, readout calibration, final evaluation."""
        return self.pilot_micro_usd + self.calibration_micro_usd + self.final_micro_usd

    @property
    def fixed_shots(self) -> int:
        """As `fixed_micro_usd`."""
        return self.pilot_shots + self.calibration_shots + self.final_shots

    def affordable(self, *, shots: int | None, micro_usd: int | None) -> int | None:
        """How many iterations fit into what is left, None for no limit."""
        budgets = (
            (shots, self.fixed_shots, self.shots),
            (micro_usd, self.fixed_micro_usd, self.iteration_micro_usd),
        )
        bounds = [
            self._affordable_of(left, fixed, each)
            for left, fixed, each in budgets
            if left is not None and each
        ]
        return min(bounds) if bounds else None

    def _affordable_of(self, left: int, fixed: int, each: int) -> int:
        """Iterations that one limit has room for; a scan's points use it up one after the other."""
        if self.points == 1:
            return max(0, (left - fixed) // each)
        whole, rest = divmod(left, self.iterations_max * each + fixed)
        begun = min(max(0, (rest - fixed) // each), self.iterations_max)
        return min(whole * self.iterations_max + begun, self.points * self.iterations_max)


def plan_run(
    prepared: Prepared,
    *,
    ledger: Ledger | None = None,
    without: Mapping[str, str] = NOTHING,
    points: int = 1,
) -> RunPlan:
    """Plan a sampled run.

    Args:
        points: of the scan whose first point is prepared, 1 for any other run.
        without: devices that are not to be used now, each with the reason.
        ledger: whose budgets bind beside the run's own; None for none.
    """
    start, limits = initial(prepared), money_limits(prepared, ledger)
    pilot = plan_iteration(prepared, start) if start.piloting else None
    state = replace(start, piloting=False)
    stage = prepared.stage()
    batch, final = plan_iteration(prepared, state), final_plan(*at_end(prepared, state))
    planned = RunPlan(
        points=points,
        n_qubits=prepared.problem.n_qubits,
        parameters=stage.circuit.n_parameters,
        groups=len(prepared.grouping),
        final_groups=len(prepared.at_end.grouping),
        energies=len(batch.angles),
        circuits=len(batch),
        shots=batch.shots_total,
        iterations_max=prepared.iterations_max,
        std_error=_std_error(prepared, final.shots_total),
        final_shots=final.shots_total,
        adaptive=prepared.chooses_shots or prepared.ansatz.pool is not None,
        optimization_shots=_optimization_shots(prepared, batch.shots_total),
        method=method_of(prepared, state),
        pilot_shots=pilot.shots_total if pilot else 0,
        look_shots=_look_shots(prepared, final.shots_total),
    )
    if prepared.fleet is not None:
        try:
            planned = _priced_within(planned, prepared, limits, without, (pilot, batch, final))
        except CannotRunError as error:
            planned = replace(planned, refusal=str(error))
    shots, micro_usd = prepared.spec.budget.shots, min(limits.values(), default=None)
    planned = replace(planned, iterations_affordable=planned.affordable(shots=shots, micro_usd=micro_usd))
    if planned.iterations_affordable == 0 and planned.refusal is None:
        planned = replace(planned, refusal=_no_room(planned, prepared, limits))
    return planned


def _priced_within(
    planned: RunPlan,
    prepared: Prepared,
    limits: Mapping[str, int],
    without: Mapping[str, str],
    plans: tuple[ExecutionPlan | None, ExecutionPlan, ExecutionPlan],
) -> RunPlan:
    """With the devices that the limits leave a choice of; with any where they leave none, to tell its price.

    Raises:
        CannotRunError: nothing can run one of the batches, whatever it costs.
    """
    left = min(limits.values(), default=None)
    try:
        return _priced(planned, prepared, RoutingRequest(micro_usd_left=left), without, *plans)
    except UnreachableError:
        raise
    except CannotRunError:
        if left is None:
            raise
        return _priced(planned, prepared, RoutingRequest(), without, *plans)


def _no_room(planned: RunPlan, prepared: Prepared, limits: Mapping[str, int]) -> str:
    """Why not one iteration is affordable: which limit leaves what, and what takes more."""
    name, left = min(limits.items(), key=lambda limit: limit[1], default=("", None))
    if left is None or planned.affordable(shots=None, micro_usd=left) != 0:
        need = planned.fixed_shots + planned.shots
        problem = f"one iteration and all that is measured beside take {need:,} shots"
        return str(no_room(prepared, "budget.shots", f"{prepared.spec.budget.shots:,}", problem))
    if planned.final_micro_usd > left:
        asked = "" if prepared.shots_execution.shots else " at the precision asked for"
        problem = f"the final evaluation{asked} alone costs {dollars(planned.final_micro_usd)}"
    else:
        need = planned.fixed_micro_usd + planned.iteration_micro_usd
        problem = f"one iteration and the final evaluation cost {dollars(need)}"
    return str(no_room(prepared, name, f"{dollars(left)} left", problem))


def _priced(
    planned: RunPlan,
    prepared: Prepared,
    request: RoutingRequest,
    without: Mapping[str, str],
    pilot: ExecutionPlan | None,
    batch: ExecutionPlan,
    final: ExecutionPlan,
) -> RunPlan:
    """With devices and prices.

    Raises:
        CannotRunError: nothing can run one of the batches.
    """
    step = with_final_reserved(prepared, initial(prepared), request, without)
    decision = decide(prepared, batch, step, without)
    each = worst_case_micro_usd(prepared, batch, decision)
    after = final_request(replace(request, micro_usd_spent=prepared.iterations_max * each))
    last = prepared.at_end
    final_decision = decide(last, final, after, without)
    learning = decide(prepared, pilot, step, without) if pilot else None
    calibration = calibration_quote(prepared, decision.devices, batch)
    return replace(
        planned,
        decision=decision,
        final_decision=final_decision,
        iteration_micro_usd=each,
        final_micro_usd=worst_case_micro_usd(last, final, final_decision),
        pilot_micro_usd=worst_case_micro_usd(prepared, pilot, learning) if pilot and learning else 0,
        seconds=decision.time_s,
        mitigation=_mitigation(prepared, decision, batch),
        calibration_shots=calibration.shots,
        calibration_micro_usd=calibration.micro_usd,
    )


def _std_error(prepared: Prepared, shots: int) -> float:
    return float(prepared.at_end.prior_variances.sigmas.sum()) / math.sqrt(shots)


def _look_shots(prepared: Prepared, final_shots: int) -> int:
    few = prepared.chooses_shots and prepared.shots_execution.shots is None
    return int(SHARE * final_shots) if few else 0


def _optimization_shots(prepared: Prepared, shots: int) -> int:
    """All iterations at their shots; where the optimizer chooses, a rough guess.

    As in `tasks.measurement_basis.optimization`, with the variance V of the mixed state.
    """
    if not prepared.chooses_shots:
        return prepared.iterations_max * shots
    d, deviation = prepared.stage().circuit.n_parameters, mixed_deviation(prepared.problem)
    return max(shots, math.ceil(d * d * deviation / prepared.asked_std_error))


def _mitigation(prepared: Prepared, decision: Decision, batch: ExecutionPlan) -> str | None:
    """What would be picked on each device of the route, and why."""
    reasons = {device: choice(prepared, device, batch)[1] for device in decision.devices}
    return "; ".join(f"{device}: {why}" for device, why in reasons.items() if why) or None
