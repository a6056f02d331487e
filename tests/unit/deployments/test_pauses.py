"""What was paused in Prefect's UI is deployed as paused, and named."""

from deployments.pauses import in_words, with_pauses


def known(*active: bool, paused: bool = False, slugs: bool = False) -> dict:
    """As Prefect's API tells a deployment whose schedules are at 0:00, 1:00, ..."""
    schedules = [
        {
            "slug": f"at-{hour}" if slugs else None,
            "active": on,
            "schedule": {"cron": f"0 {hour} * * *", "timezone": "UTC"},
        }
        for hour, on in enumerate(active)
    ]
    return {"flow_id": "1", "name": "nightly", "paused": paused, "schedules": schedules}


def declared(*hours: int, slugs: bool = False) -> dict:
    schedules = [
        {"cron": f"0 {hour} * * *", **({"slug": f"at-{at}"} if slugs else {})}
        for at, hour in enumerate(hours)
    ]
    return {"name": "nightly", "schedules": schedules}


def active(deployed: dict) -> list[bool]:
    return [schedule.get("active", True) for schedule in deployed["schedules"]]


def test_a_paused_deployment_is_deployed_paused() -> None:
    assert with_pauses(declared(0), known(True, paused=True))["paused"]
    assert "paused" not in with_pauses(declared(0), known(True))
    assert with_pauses(declared(0), None) == declared(0)


def test_a_schedule_that_was_switched_off_stays_off_alone() -> None:
    assert active(with_pauses(declared(0, 1, 2), known(True, False, True))) == [True, False, True]
    assert active(with_pauses(declared(5, 6, slugs=True), known(True, False, slugs=True))) == [True, False]


def test_a_deployment_without_a_schedule_that_is_on_gets_none_by_other_times() -> None:
    assert active(with_pauses(declared(7), known(False))) == [False]


def test_what_is_paused_is_named() -> None:
    flows = {"1": "vqe"}
    assert in_words([known(True)], flows) == []
    assert in_words([known(paused=True)], flows) == ["vqe/nightly"]
    assert in_words([known(False)], flows) == ["vqe/nightly"]
    assert in_words([known(True, False)], flows) == ["vqe/nightly (0 1 * * *)"]
