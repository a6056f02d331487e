"""What flow runs are called in Prefect's UI."""

import pytest

from flows.calibrate import calibrate
from flows.reconcile import reconcile_ledger
from tasks.flow_runs import deployment_label


@pytest.mark.parametrize(("deployment", "label"), [("fleet-6h", "calibrate fleet-6h"), (None, "calibrate")])
def test_a_scheduled_flow_run_is_named_after_its_deployment(
    monkeypatch: pytest.MonkeyPatch, deployment: str | None, label: str
) -> None:
    monkeypatch.setenv("PREFECT__RUNTIME__FLOW_RUN__FLOW_NAME", "calibrate")
    if deployment:
        monkeypatch.setenv("PREFECT__RUNTIME__DEPLOYMENT__NAME", deployment)
    assert deployment_label() == label
    assert calibrate.flow_run_name is reconcile_ledger.flow_run_name is deployment_label
