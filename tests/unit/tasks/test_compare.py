"""Runs side by side: numbers from the journal, a report that needs nothing and runs nothing."""

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from sqlalchemy import update

from flows.cli_compare import compare as command
from ledger import Journal, NewRun
from ledger.tables import runs
from shotwise.errors import SpecError
from tasks.compare import compare, sparkline
from tasks.report import bias_text, energy_text, error_text, html_report
from tests.databases import new_journal
from tests.unit.tasks.journals import enter_run


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    database = new_journal(tmp_path / "shotwise.db")
    yield Journal(database)
    database.close()


def test_numbers_are_those_of_the_journal_and_only_what_differs_is_listed(journal: Journal) -> None:
    paid = enter_run(journal, "paid", [-1.0, -1.1, -1.12], micro_usd=250)
    free = enter_run(journal, "free", [-1.0, -1.1])
    comparison = compare(journal, [paid, free])
    first, second = comparison.runs
    assert (first.shots_total, first.cost_micro_usd, first.iterations) == (300, 750, 3)
    assert [(d.device, d.jobs, d.shots, d.cost_micro_usd) for d in first.devices] == [("garnet", 3, 300, 750)]
    assert first.shots.tolist() == [100, 200, 300]
    assert first.error == pytest.approx(0.017)
    assert second.devices[0].device == "jax"
    assert comparison.differing == {"optimizer.max_iterations": ("3", "2")}
    assert comparison.comparable
    assert comparison.paid


def test_what_is_known_of_a_tail_is_not_shown_as_an_energy(journal: Journal) -> None:
    run_id = enter_run(journal, "tail", [-1.0, -1.3])
    told = json.loads(journal.run(run_id).spec_json) | {"objective": {"kind": "cvar", "alpha": 0.2}}
    with journal.database.write() as connection:
        changed = update(runs).where(runs.c.run_id == run_id)
        connection.execute(changed.values(spec_json=json.dumps(told), result_json=None))
    (view,) = compare(journal, [run_id]).runs
    assert view.energy is None


def test_a_lucky_energy_with_a_wide_interval_is_not_called_the_lowest(journal: Journal) -> None:
    lucky = enter_run(journal, "lucky", [-1.3], std_error=0.2)
    sure = enter_run(journal, "sure", [-1.1], std_error=0.001)
    assert compare(journal, [lucky, sure]).best == 1
    assert compare(journal, [sure]).best is None
    other = enter_run(journal, "other", [-7.0], problem_sha256="another")
    mixed = compare(journal, [sure, other])
    assert not mixed.comparable
    assert mixed.best is None
    assert "different problems" in html_report(mixed)


def test_energies_show_two_digits_of_their_interval(journal: Journal) -> None:
    (run,) = compare(journal, [enter_run(journal, "run", [-1.13456789], std_error=0.0123)]).runs
    assert energy_text(run) == "-1.135 ± 0.024 Ha"
    assert error_text(run) == "+2 ± 24 mHa"


class Resources(HTMLParser):
    """Everything in a page that would fetch or run something."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, object]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "link", "img", "iframe", "object", "embed", "a", "image", "foreignobject"):
            self.found.append((tag, attrs))
        for name, value in attrs:
            local = name.endswith("href") and str(value).startswith("#")
            if name.startswith("on") or (name in ("src", "href", "xlink:href") and not local):
                self.found.append((name, value))


def test_the_report_holds_all_that_it_shows_and_runs_nothing(journal: Journal) -> None:
    first = enter_run(journal, "first", [-1.0, -1.1, -1.12], micro_usd=250)
    second = enter_run(journal, "second", list(np.linspace(-1, -1.13, 200)))
    text = html_report(compare(journal, [first, second]))
    resources = Resources()
    resources.feed(text)
    assert resources.found == []
    assert text.count("<svg") == 3
    assert not re.search(r"url\((?!#)|@import", text)
    assert "garnet" in text
    ids = re.findall(r'\bid="([^"]+)"', text)
    shared = {i for i in ids if ids.count(i) > 1}
    assert not {i for i in shared if f"#{i}" in text}, "an id that is referred to must be unique"


def test_what_a_spec_says_is_escaped(journal: Journal) -> None:
    run_id = enter_run(journal, "run", [-1.0])
    other = enter_run(journal, "other", [-1.0])
    spec = json.loads(journal.run(run_id).spec_json) | {"name": "x", "note": "<script>alert(1)</script>&"}
    with journal.database.write() as connection:
        connection.execute(update(runs).where(runs.c.run_id == run_id).values(spec_json=json.dumps(spec)))
    text = html_report(compare(journal, [run_id, other]))
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;&amp;" in text


def test_a_run_without_an_iteration_can_be_shown(journal: Journal) -> None:
    run_id = journal.create_run(
        NewRun(
            name="new",
            kind="maxcut",
            spec_json=json.dumps({"execution": {"mode": "exact"}}),
            problem_sha256="x",
            versions_json="{}",
        )
    )
    assert run_id in html_report(compare(journal, [run_id]))


def test_the_command_prints_a_table_json_and_a_file(
    journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOTWISE_HOME", str(tmp_path))
    monkeypatch.delenv("DATABASE_URL", raising=False)
    first = enter_run(journal, "first", [-1.0, -1.1], micro_usd=250)
    second = enter_run(journal, "second", [-1.0, -1.05])
    done = CliRunner().invoke(command, [first, second, "--html", str(tmp_path / "report.html")])
    assert done.exit_code == 0, done.output
    assert "█▁" in done.output
    assert "garnet" in done.output
    assert (tmp_path / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    printed = json.loads(CliRunner().invoke(command, [first, second, "--json"]).output)
    assert printed["best"] == first
    assert [run["cost_usd"] for run in printed["runs"]] == [0.0005, 0.0]
    with pytest.raises(SpecError, match="twice"):
        CliRunner().invoke(command, [first, first], catch_exceptions=False)
    with pytest.raises(SpecError, match="no such run"):
        CliRunner().invoke(command, ["nobody"], catch_exceptions=False)


def test_a_row_is_one_line_of_a_pipe(
    journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOTWISE_HOME", str(tmp_path))
    monkeypatch.delenv("DATABASE_URL", raising=False)
    run_ids = [enter_run(journal, "of-a-long-name-" * 3, [-1.0, -1.1]) for _ in range(4)]
    (header, *_) = CliRunner().invoke(command, run_ids).output.strip().splitlines()
    assert header.split() == run_ids


def test_sparklines_fall_as_energies_do() -> None:
    assert sparkline(np.array([])) == ""
    assert sparkline(np.array([1.0])) == "▁"
    line = sparkline(np.linspace(1, 0, 1000))
    assert len(line) == 24
    assert list(line) == sorted(line, reverse=True)


def test_what_lies_beside_an_interval_is_shown_beside_it(journal: Journal) -> None:
    noisy, ideal = (enter_run(journal, name, [-1.0, -1.1], std_error=0.001) for name in ("noisy", "ideal"))
    assert "predicted bias" not in html_report(compare(journal, [noisy, ideal]))
    told = json.loads(journal.run(noisy).result_json or "{}") | {"predicted_bias": 0.0123}
    with journal.database.write() as connection:
        connection.execute(update(runs).where(runs.c.run_id == noisy).values(result_json=json.dumps(told)))
    comparison = compare(journal, [noisy, ideal])
    assert [bias_text(run) for run in comparison.runs] == ["about 1.2e-02 Ha", "–"]
    assert html_report(comparison).count("about 1.2e-02 Ha") == 2


def test_a_run_whose_result_has_no_energy_is_not_shown_with_an_iterations(journal: Journal) -> None:
    run_id = enter_run(journal, "poor", [-1.0, -1.2])
    with journal.database.write() as connection:
        told = json.dumps({"energy": None, "energy_std_error": None})
        connection.execute(update(runs).where(runs.c.run_id == run_id).values(result_json=told))
    (view,) = compare(journal, [run_id]).runs
    assert (view.energy, energy_text(view)) == (None, "–")
