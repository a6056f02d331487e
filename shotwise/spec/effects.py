"""What a spec says and nothing would heed: refused of a new run, and never of one that goes on."""

from __future__ import annotations

from shotwise.errors import SpecError
from shotwise.spec.run import (
    FREE_DEVICE,
    SHOT_CHOOSERS,
    AdaptAnsatz,
    ExactExecution,
    RunSpec,
    ScheduleSpec,
    ShotsExecution,
)

_SCHEDULED = {
    "constant": (),
    "exponential_decay": ("decay_rate", "end_value"),
    "cosine_decay": ("end_value",),
    "linear": ("end_value",),
    "warmup_cosine": ("end_value", "warmup_iterations"),
}
_WITHOUT_GRADIENT = ("spsa", "rotosolve")


def check_effects(spec: RunSpec) -> None:
    """Refuse fields that were set and would be ignored: what was meant by them would not happen.

    Raises:
        SpecError: naming the field.
    """
    _check_schedule(spec.optimizer.schedule)
    _check_gradient(spec)
    if isinstance(spec.execution, ShotsExecution):
        _check_devices(spec.execution)
        _check_shots(spec, spec.execution)
        _check_calibrated(spec.execution)


def _check_schedule(schedule: ScheduleSpec) -> None:
    for name in ("decay_rate", "end_value", "warmup_iterations"):
        given, usual = getattr(schedule, name), ScheduleSpec.model_fields[name].default
        if given != usual and name not in _SCHEDULED[schedule.kind]:
            problem = f"schedule.kind {schedule.kind} has no {name}"
            raise SpecError(f"optimizer.schedule.{name}", given, problem, "leave it out")


def _check_gradient(spec: RunSpec) -> None:
    gradient, name = spec.optimizer.gradient, spec.optimizer.name
    if gradient == "auto":
        return
    if isinstance(spec.execution, ExactExecution):
        raise SpecError("optimizer.gradient", gradient, "says how sampled gradients are got", "leave it out")
    if name in _WITHOUT_GRADIENT:
        raise SpecError("optimizer.gradient", gradient, f"{name} takes no gradient", "leave it out")
    own_shots = name in SHOT_CHOOSERS or (name == "auto" and spec.execution.adaptive)
    if own_shots and gradient != "parameter_shift":
        problem = f"{name} sets the shots of each derivative itself, by parameter_shift"
        raise SpecError("optimizer.gradient", gradient, problem, "leave it out")


def _check_devices(execution: ShotsExecution) -> None:
    if execution.policy is not None and execution.device != FREE_DEVICE:
        problem = f"policy {execution.policy} routes over execution.devices"
        raise SpecError("execution.device", execution.device, problem, "give device, or policy and devices")
    if execution.policy is None and execution.devices:
        problem = "no policy routes over them"
        raise SpecError("execution.devices", ", ".join(execution.devices), problem, "add policy: balanced")


def _check_shots(spec: RunSpec, execution: ShotsExecution) -> None:
    name = spec.optimizer.name
    if execution.adaptive and isinstance(spec.ansatz, AdaptAnsatz):
        remedy = "leave policy: adaptive out, and give shots or target_std_error"
        raise SpecError("execution.policy", "adaptive", "adapt takes fixed shots for every energy", remedy)
    if not execution.adaptive and name in SHOT_CHOOSERS:
        problem = "sets its shots itself, the spec asks for fixed ones"
        raise SpecError("optimizer.name", name, problem, "add policy: adaptive, or use another optimizer")


def _check_calibrated(execution: ShotsExecution) -> None:
    """Fields about calibrations, where none is asked for."""
    if execution.policy is not None or execution.device != FREE_DEVICE:
        return
    for name in ("stale_after_s", "allow_bad_calibration", "readout_from"):
        given, usual = getattr(execution, name), ShotsExecution.model_fields[name].default
        if given != usual:
            problem = f"{FREE_DEVICE} has no calibration"
            raise SpecError(f"execution.{name}", given, problem, "leave it out, or name devices")
