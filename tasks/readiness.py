"""Whether a spec can be run, found out before anything is entered or started."""

from __future__ import annotations

from backends.provider import ProviderUnavailable
from ledger import Database, Journal, Ledger
from shotwise.errors import UNSHOWN, CannotRunError, UnreachableError
from shotwise.spec import RqaoaAnsatz, RunSpec
from shotwise.words import quantity
from tasks.prepare import prepare
from tasks.prepared import Prepared
from tasks.recursion import prepare_recursion
from tasks.routing import check_can_start
from tasks.scan import point_spec
from tasks.starts import resolve_start


def check_ready(spec: RunSpec, database: Database | None = None, *, new: bool = False) -> Prepared | None:
    """Build what the spec will run: of a scan its first point. None where no circuit will run.

    Args:
        database: the journal's, where a start may lie; None for the one of this installation.
        new: the run is not entered yet; its budgets must have room for a first step.

    Raises:
        SpecError, CannotRunError: as `tasks.prepare.prepare` and `tasks.routing.check_can_start`.
        UnreachableError: of a new run: no device answered for a moment.
    """
    if isinstance(spec.ansatz, RqaoaAnsatz):
        prepare_recursion(spec)
        return None
    spec = resolve_start(spec, Journal(database) if database else None)
    if not new or database is None:
        return _prepare_first(spec)
    try:
        prepared = _prepare_first(spec)
        check_can_start(prepared, Ledger(database))
    except UnreachableError as error:
        raise _unanswered(error.field, error.value, error.problem, error.remedy) from None
    except ProviderUnavailable as error:
        raise _unanswered("execution", UNSHOWN, str(error), "use another device") from None
    return prepared


def _prepare_first(spec: RunSpec) -> Prepared:
    return prepare(point_spec(spec, ()) if spec.scan else spec)


def _unanswered(field: str, value: object, problem: str, remedy: str) -> UnreachableError:
    """What a new run that was not entered is refused with."""
    problem = f"the provider does not answer, and nothing was bought: {problem}"
    return UnreachableError(field, value, problem, f"try again later, or {remedy}")


def check_sizes(prepared: Prepared) -> None:
    """Refuse a circuit that is too wide for every device of its spec; one that gives no answer may take it.

    Raises:
        CannotRunError: all of them are too small.
    """
    fleet, n_qubits = prepared.fleet, prepared.problem.n_qubits
    if fleet is None:
        return
    try:
        widest = max(fleet.description(name).n_qubits for name in fleet.names)
    except UnreachableError:
        return
    if widest < n_qubits:
        remedy = "use a wider device, or fewer orbitals or nodes"
        problem = f"the problem has {quantity(n_qubits, 'qubit')}, the widest device {widest}"
        raise CannotRunError("execution.device", ", ".join(fleet.names), problem, remedy)
