"""Sending runs to the team's workers, and saying what became of them."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType

from httpx import HTTPError, HTTPStatusError, codes

from ledger import Currency, Database, Holder, Journal, Ledger, RunState, Submissions
from shotwise.errors import CannotRunError, NoRoomError
from shotwise.home import Home
from shotwise.spec import RqaoaAnsatz, RunSpec, ShotsExecution
from tasks.flow_runs import ON_DEMAND, FlowRuns, get_client
from tasks.prefect_settings import apply_client_settings
from tasks.provenance import new_run
from tasks.run_records import had_pilot, headline
from tasks.starts import resolve_start

_ENDED = frozenset(state for state in RunState if state.has_ended)


@dataclass(frozen=True)
class RunStatus:
    """One of the team's runs as a person sees it.

    Attributes:
        state: `lost` where nothing drives it that should.
        cancelled: it was asked to end.
        iterations: done, without the pilot.
        energy: of the result, or of the last iteration.
        driver: the machine and process that drives it, None where none does.
    """

    run_id: str
    state: str
    cancelled: bool
    queue: str
    deployment: str
    submitted_us: int
    iterations: int
    energy: float | None
    driver: str | None

    @property
    def display_state(self) -> str:
        """Its state, or `cancelling` until it has ended as asked."""
        return "cancelling" if self.cancelled and self.state not in _ENDED else self.state


class Submitter:
    """A line to journal and server, for as many runs as wanted."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._opened = ExitStack()

    def __enter__(self) -> Submitter:
        apply_client_settings(self._home)
        database = Database(self._home.database_url)
        self._journal, self._submissions = Journal(database), Submissions(database)
        self._flow_runs = FlowRuns(self._opened.enter_context(get_client()))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()

    def submit(self, spec: RunSpec, queue: str) -> str:
        """Enter a run and have a worker drive it; its id.

        The journal comes first. If this process dies before the server hears of the run, the keeper tells it.

        Raises:
            NoRoomError: a limit leaves no room for its first step; it is not entered.
            CannotRunError: the server is not reached; the run stays entered, and starts when it is.
        """
        spec = resolve_start(spec, self._journal)
        check_room(spec, self._journal.database)
        run_id = self._submissions.enter(
            new_run(spec),
            deployment=f"{spec.flow}/{ON_DEMAND}",
            queue=queue,
        )
        submission = self._submissions.find(run_id)
        assert submission is not None, "it was just entered"
        try:
            self._flow_runs.start(submission, 0)
        except HTTPError as error:
            problem, remedy = _in_words(error)
            remedy += f"; run {run_id} is entered and starts as soon as a worker hears of it"
            raise CannotRunError("PREFECT_API_URL", self._home.root, problem, remedy) from None
        return run_id


def check_room(spec: RunSpec, database: Database) -> None:
    """Refuse a run that a limit leaves no room for, as far as this machine can tell.

    Nothing is built of a run that no limit holds for. What else is missing here, a device or its
    credentials, the worker may have.

    Raises:
        SpecError: the problem that it names cannot be built.
        NoRoomError: the limits have no room for its first step.
    """
    if not _is_limited(spec, Ledger(database)):
        return
    from tasks.readiness import check_ready

    try:
        check_ready(spec, database, new=True)
    except NoRoomError:
        raise
    except CannotRunError:
        return


def _is_limited(spec: RunSpec, ledger: Ledger) -> bool:
    """Whether a limit holds for what a run buys; recursive QAOA and exact runs buy nothing."""
    if isinstance(spec.ansatz, RqaoaAnsatz) or not isinstance(spec.execution, ShotsExecution):
        return False
    payer = f"{spec.account.tenant}/{spec.account.project}"
    return spec.budget.micro_usd is not None or any(ledger.available(payer, each) for each in Currency)


def _in_words(error: HTTPError) -> tuple[str, str]:
    """(what is wrong with Prefect's server, the remedy)."""
    if isinstance(error, HTTPStatusError) and error.response.status_code == codes.UNAUTHORIZED:
        return "Prefect's server asks for credentials", "set PREFECT_API_AUTH_STRING to USER:PASSWORD"
    return f"Prefect's server is not reached ({type(error).__name__})", "start the team: `shotwise up`"


def team_status(journal: Journal, *, everything: bool = False) -> list[RunStatus]:
    """The team's runs, oldest first; those that have ended only if asked for."""
    submissions = Submissions(journal.database)
    found = submissions.all() if everything else submissions.unfinished()
    rows = []
    for run in found:
        record, last = journal.run(run.run_id), journal.last_iteration(run.run_id)
        done = last.iteration + 1 - had_pilot(journal, run.run_id) if last else 0
        found = headline(record) or last
        driver = Holder.parse(record.holder) if journal.is_driven(run.run_id) else None
        rows.append(
            RunStatus(
                run_id=run.run_id,
                state=journal.effective_state(record),
                cancelled=run.cancelled,
                queue=run.queue,
                deployment=run.deployment,
                submitted_us=run.submitted_us,
                iterations=done,
                energy=found.energy if found else None,
                driver=f"{driver.host} {driver.pid}" if driver else None,
            )
        )
    return rows
