"""Rules, dashboards and runbooks agree with each other and with what the exporter exports."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from ledger import Database
from ledger.statistics import record_reconciliation
from tasks.metrics import JournalCollector

ROOT = Path(__file__).parents[3]
OBSERVABILITY = ROOT / "deployments" / "observability"
PROMETHEUS = OBSERVABILITY / "prometheus"
DASHBOARDS = sorted((OBSERVABILITY / "grafana" / "dashboards").glob("*.json"))
RUNBOOKS = ROOT / "docs" / "runbooks"
NAME = re.compile(r"\bshotwise[a-z0-9_:]*")
SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_count", "_sum")}
promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (Debian's package prometheus)"
)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    database = Database(f"sqlite:///{tmp_path_factory.mktemp('journal') / 'journal.db'}")
    record_reconciliation(database, {"bought twice": 0})
    families = list(JournalCollector(database).collect())
    database.close()
    return {family.name + suffix for family in families for suffix in SUFFIXES[family.type]}


def rules(name: str) -> list[dict]:
    groups = yaml.safe_load((PROMETHEUS / name).read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def recorded() -> set[str]:
    return {rule["record"] for rule in rules("recording.yml")}


def dashboard_expressions() -> list[str]:
    return [
        target["expr"]
        for path in DASHBOARDS
        for panel in json.loads(path.read_text())["panels"]
        for target in panel["targets"]
    ]


def metrics_in(expression: str) -> set[str]:
    return set(NAME.findall(re.sub(r'"[^"]*"', '""', expression)))


def tool(*arguments: str) -> None:
    done = subprocess.run(
        ["promtool", *arguments], cwd=PROMETHEUS, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@promtool
def test_prometheus_accepts_the_configuration_and_its_rules() -> None:
    tool("check", "config", "prometheus.yml")


@promtool
def test_alerts_fire_where_they_must_and_nowhere_else() -> None:
    tool("test", "rules", "alerts_test.yml")


@promtool
def test_prometheus_accepts_every_expression_of_a_dashboard(tmp_path: Path) -> None:
    assert len(DASHBOARDS) == 3
    found = [e.replace("$__rate_interval", "5m") for e in dashboard_expressions()]
    asked = [{"record": f"shotwise:panel{at}", "expr": e} for at, e in enumerate(found)]
    rule_file = tmp_path / "panels.yml"
    rule_file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": asked}]}))
    tool("check", "rules", str(rule_file))


def test_rules_and_dashboards_ask_only_for_what_is_exported(exported: set[str]) -> None:
    expressions = [rule["expr"] for rule in rules("recording.yml") + rules("alerts.yml")]
    asked = set().union(*map(metrics_in, expressions + dashboard_expressions()))
    assert asked <= exported | recorded()


def test_every_exported_metric_is_looked_at(exported: set[str]) -> None:
    expressions = [rule["expr"] for rule in rules("recording.yml")] + dashboard_expressions()
    asked = set().union(*map(metrics_in, expressions))
    assert {name for name in exported if not name.endswith(("_sum", "_count"))} <= asked


def test_every_alert_has_a_runbook_and_every_runbook_an_alert() -> None:
    alerts = rules("alerts.yml")
    assert {rule["alert"] for rule in alerts} == {path.stem for path in RUNBOOKS.glob("*.md")}
    for rule in alerts:
        assert rule["annotations"]["runbook"] == f"docs/runbooks/{rule['alert']}.md"
        assert rule["labels"]["severity"] in ("page", "ticket")


def test_every_alert_is_made_to_fire_by_a_test() -> None:
    cases = yaml.safe_load((PROMETHEUS / "alerts_test.yml").read_text())["tests"]
    fired = {a["alertname"] for case in cases for a in case["alert_rule_test"] if a.get("exp_alerts")}
    assert fired == {rule["alert"] for rule in rules("alerts.yml")}


def test_dashboards_are_provisioned_on_the_provisioned_source() -> None:
    provisioning = OBSERVABILITY / "grafana" / "provisioning"
    sources = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text())["datasources"]
    (source,) = sources
    for path in DASHBOARDS:
        dashboard = json.loads(path.read_text())
        assert dashboard["uid"] == f"shotwise-{path.stem}"
        ids = [panel["id"] for panel in dashboard["panels"]]
        assert len(ids) == len(set(ids))
        assert {panel["datasource"]["uid"] for panel in dashboard["panels"]} == {source["uid"]}
