"""Keeps the team's runs going: `python -m deployments.keeper --every 10 [--workers]`.

Looks again and again for runs that nobody drives and has a worker go on with them. With `--workers` it also
starts workers of this machine that died; elsewhere Kubernetes or Docker does that. Any number of keepers may
run: what one does exists once, whoever does it.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from httpx import HTTPError
from sqlalchemy.exc import OperationalError

from deployments.stack import Stack
from ledger import Database, Journal
from shotwise.errors import ShotwiseError
from shotwise.home import Home
from shotwise.signals import SignalSafeSetter
from shotwise.words import quantity
from tasks.flow_runs import FlowRuns, get_client
from tasks.healing import HealingLimits, heal

_log = logging.getLogger("shotwise.keeper")


def main() -> None:
    """Until SIGTERM."""
    options = _parser().parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    home = Home.from_environment()
    journal = Journal(Database(home.database_url))
    limits = HealingLimits(pending_s=options.pending_s, running_s=options.running_s)
    stop = threading.Event()
    setter = SignalSafeSetter(stop)
    signal.signal(signal.SIGTERM, lambda number, frame: setter.set())
    while not stop.is_set():
        if options.workers:
            with _going_on():
                _restart_workers(home)
        with _going_on(), get_client() as client:
            _look(journal, FlowRuns(client), limits)
        stop.wait(options.every)


@contextmanager
def _going_on() -> Iterator[None]:
    """What fails may succeed at the next look, and what comes after it is done all the same."""
    try:
        yield
    except Exception as error:
        known = isinstance(error, HTTPError | OperationalError | ShotwiseError)
        _log.warning("%s: %s; looking again", type(error).__name__, error, exc_info=not known)


def _look(journal: Journal, flow_runs: FlowRuns, limits: HealingLimits) -> None:
    for healed in heal(journal, flow_runs, limits):
        successor = healed.successor.name if healed.successor else "none"
        dead = quantity(len(healed.dead), "dead flow run")
        _log.info("%s: %s, successor: %s", healed.run_id, dead, successor)


def _restart_workers(home: Home) -> None:
    """They are told what this process was: a client's environment, credentials included."""
    for worker in Stack.saved(home).workers_told(os.environ):
        if worker.start():
            _log.info("%s was not running: started", worker.name)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("deployments.keeper", description=__doc__)
    parser.add_argument("--every", type=float, default=10.0, help="seconds between looks")
    parser.add_argument("--workers", action="store_true", help="also start workers of this machine that died")
    parser.add_argument(
        "--pending-s", type=float, default=HealingLimits.pending_s, help="a process may take to start"
    )
    parser.add_argument(
        "--running-s", type=float, default=HealingLimits.running_s, help="a run may take to be driven"
    )
    return parser


if __name__ == "__main__":
    main()
