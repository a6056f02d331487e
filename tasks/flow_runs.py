"""Prefect flow runs of the team's runs: started once each, found by a tag, ended with a message."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from httpx import HTTPError
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.orchestration import get_client as _get_client
from prefect.client.schemas.actions import DeploymentFlowRunCreate
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import TERMINAL_STATES, FlowRun, StateType
from prefect.context import FlowRunContext
from prefect.events import emit_event
from prefect.exceptions import ObjectNotFound
from prefect.runtime import deployment as running_deployment
from prefect.runtime import flow_run as running
from prefect.states import Crashed, Scheduled, to_state_create

from ledger import Submission
from shotwise.errors import CannotRunError

ON_DEMAND = "on-demand"
INTERRUPTED = "Interrupted"
"""Name of the state in which a flow run leaves its run to the next one; its type is CANCELLED."""
_WORK_POOL = "shotwise"
_PAGE_ROWS = 200


@dataclass(frozen=True)
class FlowRunView:
    """What of a flow run decides whether somebody drives: its state and since when it is in it."""

    flow_run_id: UUID
    name: str
    state: StateType
    state_name: str
    since: datetime

    @property
    def is_open(self) -> bool:
        return self.state not in TERMINAL_STATES

    @classmethod
    def of(cls, flow_run: FlowRun) -> FlowRunView:
        state = flow_run.state
        assert state is not None, "the server gives every flow run a state"
        return cls(flow_run.id, flow_run.name, state.type, state.name or "", state.timestamp)


class FlowRuns:
    """The team's flow runs on Prefect's server. Methods raise `httpx.HTTPError` where it is not reached."""

    def __init__(self, client: SyncPrefectClient) -> None:
        self._client = client
        self._deployments: dict[str, UUID] = {}

    def of(self, run: Submission, driven_by: Iterable[str]) -> list[FlowRunView]:
        """All flow runs that drove or shall drive a run, oldest first."""
        named = {*driven_by, *((run.flow_run_id,) if run.flow_run_id else ())}
        filters = [FlowRunFilter(tags=FlowRunFilterTags(all_=[run.run_id]))]
        if named:
            filters.append(FlowRunFilter(id=FlowRunFilterId(any_=[UUID(each) for each in named])))
        found = {each.id: each for wanted in filters for each in self._read(wanted)}
        return [
            FlowRunView.of(each) for each in sorted(found.values(), key=lambda each: (each.created, each.id))
        ]

    def start(self, run: Submission, number: int) -> FlowRunView:
        """Have a worker drive a run: its flow run number `number`, which exists once however often one asks.

        It is due since the run was submitted, so one that goes on is before those that wait to begin.

        Raises:
            CannotRunError: the server has no such deployment.
        """
        return self._create(
            self._deployment(run.deployment),
            parameters={"spec": None, "run_id": run.run_id},
            due=datetime.fromtimestamp(run.submitted_us / 1e6, UTC),
            name=run.run_id if number == 0 else f"{run.run_id} again {number}",
            tags=[run.run_id],
            idempotency_key=f"{run.run_id}/{number}",
            work_queue_name=run.queue,
        )

    def restart(self, flow_run_id: UUID) -> FlowRunView:
        """Have a worker do again what a flow run asked for that died before it had a run; once.

        Raises:
            CannotRunError: its deployment is gone.
        """
        old = self._client.read_flow_run(flow_run_id)
        if old.deployment_id is None:
            raise _no_deployment(old.name)
        return self._create(
            old.deployment_id,
            parameters=old.parameters,
            name=f"{old.name} again",
            tags=[tag for tag in old.tags if tag != "auto-scheduled"],
            idempotency_key=f"{flow_run_id}/again",
            work_queue_name=old.work_queue_name,
        )

    def in_pool(self, states: Iterable[StateType]) -> list[FlowRunView]:
        """The team's flow runs in given states, whatever they run."""
        wanted = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=list(states))))
        return [FlowRunView.of(each) for each in self._read(wanted)]

    def crash(self, flow_run_id: UUID, message: str) -> None:
        """End a flow run whose process is gone."""
        self._client.set_flow_run_state(flow_run_id, Crashed(message=message), force=True)

    def _create(self, deployment_id: UUID, *, due: datetime | None = None, **wanted: Any) -> FlowRunView:
        """A flow run whose parameters were checked before they came here.

        The server would check the spec's whole schema each time, which holds it up; its client's own method
        has no parameter for that.

        Args:
            due: since when; now by default.
        """
        state = to_state_create(Scheduled(scheduled_time=due))
        body = DeploymentFlowRunCreate(state=state, **wanted, enforce_parameter_schema=False)
        created = self._client.request(
            "POST",
            "/deployments/{id}/create_flow_run",
            path_params={"id": deployment_id},
            json=body.model_dump(mode="json", exclude_unset=True),
        )
        return FlowRunView.of(FlowRun.model_validate(created.json()))

    def _deployment(self, name: str) -> UUID:
        if name not in self._deployments:
            try:
                self._deployments[name] = self._client.read_deployment_by_name(name).id
            except ObjectNotFound:
                raise _no_deployment(name) from None
        return self._deployments[name]

    def _read(self, wanted: FlowRunFilter) -> list[FlowRun]:
        pool = WorkPoolFilter(name=WorkPoolFilterName(any_=[_WORK_POOL]))
        found: list[FlowRun] = []
        while page := self._client.read_flow_runs(
            flow_run_filter=wanted, work_pool_filter=pool, limit=_PAGE_ROWS, offset=len(found)
        ):
            found += page
        return found


def get_client() -> SyncPrefectClient:
    """A client of the server that the environment names."""
    return _get_client(sync_client=True)


def is_deployed() -> bool:
    """Whether the flow run that this process runs belongs to a deployment; asks no server."""
    context = FlowRunContext.get()
    return context is not None and context.flow_run is not None and context.flow_run.deployment_id is not None


def deployment_of(flow_run_id: UUID) -> tuple[str, str]:
    """("flow/deployment", queue) of the flow run that this process runs."""
    with get_client() as client:
        queue = client.read_flow_run(flow_run_id).work_queue_name
    return f"{running.flow_name}/{running_deployment.name}", queue or "default"


def deployment_label() -> str:
    """A name for the flow run that this process runs: its flow's, and the deployment's where it has one."""
    return " ".join(name for name in (running.flow_name, running_deployment.name) if name)


def is_being_cancelled(flow_run_id: UUID) -> bool:
    """Whether somebody cancelled the flow run in Prefect's UI; False where the server cannot be asked."""
    with suppress(HTTPError), get_client() as client:
        state = client.read_flow_run(flow_run_id).state
        return state is not None and state.type in (StateType.CANCELLING, StateType.CANCELLED)
    return False


def emit_run_event(event: str, run_id: str, **payload: str) -> None:
    """An event about a run that automations and the UI see."""
    resource = {"prefect.resource.id": f"shotwise.run.{run_id}", "prefect.resource.name": run_id}
    emit_event(f"shotwise.run.{event}", resource, payload=payload)


def _no_deployment(name: str) -> CannotRunError:
    remedy = "apply the deployments: `shotwise up`"
    return CannotRunError("deployment", name, "Prefect's server has none", remedy)
