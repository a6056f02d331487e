"""Whether a run can start is said before anything is planned; a provider is asked again for a moment."""

import pytest

from backends.fleet import SANDBOX_URL
from backends.sandbox import FaultKind, FaultSpec
from backends.sandbox.connection import KEY_VARIABLE
from backends.sandbox.process import SandboxProcess
from ledger import Journal
from shotwise.errors import CannotRunError, UnreachableError
from shotwise.spec import RunSpec, validate
from tasks import patience
from tasks.prepare import prepare
from tasks.readiness import check_ready, check_sizes
from tasks.retries import RetryPolicy
from tests.unit.tasks.buying import KEY, close_fleets, closed_at_the_end, fired

NOISY = "sandbox-noisy"
EDGES = [[node, node + 1] for node in range(5)]


def _spec(seed: int, **execution: object) -> RunSpec:
    problem = {"kind": "maxcut", "edges": EDGES}
    return validate(
        {"problem": problem, "seed": seed, "execution": {"mode": "shots", "shots": 200, **execution}}
    )


def _prepared(**execution: object):
    prepared = check_ready(_spec(0, **execution))
    assert prepared is not None
    return prepared


def test_a_circuit_wider_than_every_device_is_refused() -> None:
    with pytest.raises(CannotRunError, match="the problem has 6 qubits, the widest device 5"):
        check_sizes(_prepared(devices=["sim-lima", "sim-manila"]))
    check_sizes(_prepared(devices=["sim-lima", "sim-nairobi"]))
    check_sizes(_prepared(device="jax"))


@pytest.fixture
def reads_fail(sandbox: SandboxProcess, monkeypatch: pytest.MonkeyPatch):
    """Has the sandbox's next answers to questions fail; None stands for all of them."""
    monkeypatch.setenv(KEY_VARIABLE, KEY.get_secret_value())
    monkeypatch.setenv(SANDBOX_URL, sandbox.url)

    def inject(times: int | None) -> None:
        retry_policy = RetryPolicy(first_s=0.01, unavailable_s=60 if times else 0.05)
        monkeypatch.setattr(patience, "BEFORE_START", retry_policy)
        sandbox.control().inject(FaultSpec(kind=FaultKind.READ_ERROR, device=NOISY, times=times))

    yield inject
    sandbox.control().clear()
    close_fleets()


@pytest.mark.parametrize("asked_before", [False, True])
def test_a_provider_that_fails_for_a_moment_refuses_no_run(
    journal: Journal, sandbox: SandboxProcess, reads_fail, asked_before: bool
) -> None:
    spec = _spec(1 + asked_before, device=NOISY)
    if asked_before:
        prepare(spec)
    reads_fail(2)
    prepared = check_ready(spec, journal.database, new=True)
    assert fired(sandbox, FaultKind.READ_ERROR) == 2
    assert prepared is not None
    closed_at_the_end(prepared.fleet)


@pytest.mark.parametrize("asked_before", [False, True])
def test_a_provider_that_stays_silent_is_named_with_what_that_cost(
    journal: Journal, reads_fail, asked_before: bool
) -> None:
    spec = _spec(3 + asked_before, device=NOISY)
    if asked_before:
        prepare(spec)
    reads_fail(None)
    with pytest.raises(
        UnreachableError, match=r"provider does not answer, and nothing was bought: .*HTTP 500.*later"
    ):
        check_ready(spec, journal.database, new=True)
    assert journal.all_runs() == []
    closed_at_the_end(prepare(spec).fleet)
