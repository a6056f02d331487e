"""Rate limits hold whoever sends, on SQLite and PostgreSQL."""

import subprocess
import sys

import pytest

from backends.catalog import load_catalog
from ledger import Database, claim_submission
from tasks.rate_limit import wait_for_rate_limit

SECOND = 1_000_000
DRIVER = """
import sys, time
from backends.catalog import load_catalog
from ledger import Database
import tasks.rate_limit as rate_limit

device = load_catalog()["ibm-fez"].model_copy(update={"submits_per_minute_max": 600.0})
database, asked = Database(sys.argv[1]), []
now_us = rate_limit.now_us
rate_limit.now_us = lambda: asked.append(now_us()) or asked[-1]  # the last time asked is the one entered
for _ in range(15):
    rate_limit.wait_for_rate_limit(database, device, time.sleep)
    print(asked[-1])
"""


def test_two_drivers_together_stay_within_the_limit(database: Database) -> None:
    url = database.engine.url.render_as_string(hide_password=False)
    drivers = [
        subprocess.Popen([sys.executable, "-c", DRIVER, url], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    sent = sorted(int(line) for driver in drivers for line in driver.communicate(timeout=120)[0].split())
    assert [driver.returncode for driver in drivers] == [0, 0]
    assert len(sent) == 30
    for first, eleventh in zip(sent, sent[10:], strict=False):
        assert eleventh - first >= SECOND, "an eleventh submission within a second"


def test_five_a_minute_and_not_one_more(database: Database) -> None:
    assert [claim_submission(database, "ibm", 5, at * SECOND) for at in range(100, 105)] == [0.0] * 5
    assert claim_submission(database, "ibm", 5, 110 * SECOND) == 50.0
    assert claim_submission(database, "other", 5, 110 * SECOND) == 0.0
    assert claim_submission(database, "ibm", 5, 160 * SECOND) == 0.0
    assert claim_submission(database, "ibm", 5, 160 * SECOND) == 1.0


def test_less_than_one_a_minute(database: Database) -> None:
    assert claim_submission(database, "slow", 0.5, 1000 * SECOND) == 0.0
    assert claim_submission(database, "slow", 0.5, 1060 * SECOND) == 60.0


def test_a_clock_that_was_ahead_holds_nobody_back_for_longer_than_a_window(database: Database) -> None:
    assert claim_submission(database, "ibm", 1, 9_000_000 * SECOND) == 0.0
    assert claim_submission(database, "ibm", 1, 1000 * SECOND) == 60.0
    assert claim_submission(database, "ibm", 1, 1060 * SECOND) == 0.0


def test_devices_of_one_provider_share_its_limit(database: Database) -> None:
    catalog, waits = load_catalog(), []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        raise TimeoutError

    for _ in range(5):
        wait_for_rate_limit(database, catalog["ibm-fez"], sleep)
    with pytest.raises(TimeoutError):
        wait_for_rate_limit(database, catalog["ibm-torino"], sleep)
    wait_for_rate_limit(database, catalog["jax"], sleep)
    assert len(waits) == 1
