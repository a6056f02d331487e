"""Credentials: from the environment or a real Prefect server's Secret blocks, and seen nowhere after."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.credentials import block_name, credential

ROOT = Path(__file__).resolve().parents[3]
_OURS = ("PREFECT_", "QISKIT_", "SHOTWISE_", "AWS_", "AMZN_")
KEY = "very-secret-key-4711"
CRN = "crn:v1:bluemix:public:quantum-computing:us-east:a/0123456789abcdef:1111:secret-instance:"

SCRIPT = """
import json, sys
from pathlib import Path
from uuid import UUID
from shotwise.home import Home
from tasks.prefect_server import PrefectServer

home = Home(Path(sys.argv[1]))
key, crn = json.loads(sys.stdin.read())
server = PrefectServer.start(home)
server.apply_environment()
from prefect import flow, get_run_logger, runtime, task
from prefect.blocks.system import Secret
from prefect.cache_policies import NO_CACHE
from backends.fleet import Fleet
from tasks.credentials import credential
from tasks.prefect_records import wait_for_records, use_own_server
server.wait()
use_own_server()
Secret(value=key).save("qiskit-ibm-token")
Secret(value=crn).save("qiskit-ibm-instance")
for name in ("aws-access-key-id", "aws-secret-access-key"):
    Secret(value=key).save(name)
Secret(value="amazon-braket-results").save("amzn-braket-out-s3-bucket")
Secret(value="us-east-1").save("aws-region")

@task(cache_policy=NO_CACHE)
def route(device):
    fleet = Fleet((device,), secret=credential)
    secrets = fleet.provider(device)._account._secrets
    get_run_logger().warning("%r %r", fleet, fleet._providers)
    try:
        fleet.calibration(device)
    except Exception as error:
        get_run_logger().warning("%s %r", error, error)
    return secrets == (key, crn), repr(fleet)

@flow
def spend(device):
    return route(device)

found, shown = spend("ibm-fez")
assert found, "the blocks are not what was opened with"
print(shown)
try:
    Fleet(("ibm-fez",), secret=lambda name: None).provider("ibm-fez")
except Exception as error:
    print(error)
spend("ibm-nowhere", return_state=True)

@task(cache_policy=NO_CACHE)
def open_braket(device):
    provider = Fleet((device,), secret=credential).provider(device)
    get_run_logger().warning("%r", provider)
    keys = provider._session.boto_session.get_credentials()
    return (keys.access_key, keys.secret_key, provider._bucket), provider._session.region

@flow
def open_sv1():
    return *open_braket("braket-sv1"), runtime.flow_run.id

opened, region, last = open_sv1()
assert opened == (key, key, "amazon-braket-results"), "the blocks are not what was opened with"
assert region == "us-east-1"
wait_for_records(UUID(last))
server.stop()
"""


def test_the_environment_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QISKIT_IBM_TOKEN", "from-the-environment")
    assert credential("QISKIT_IBM_TOKEN") == "from-the-environment"


def test_a_line_break_at_its_end_belongs_to_the_file_it_is_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QISKIT_IBM_TOKEN", "from-a-file\n")
    assert credential("QISKIT_IBM_TOKEN") == "from-a-file"


def test_without_a_server_what_is_missing_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QISKIT_IBM_TOKEN", raising=False)
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    assert credential("QISKIT_IBM_TOKEN") is None
    assert block_name("QISKIT_IBM_TOKEN") == "qiskit-ibm-token"


def test_secrets_of_blocks_reach_the_adapter_and_no_log_record_or_error(tmp_path: Path) -> None:
    kept = {n: v for n, v in os.environ.items() if not n.startswith(_OURS)}
    nowhere = "http://127.0.0.1:9"  # nothing may leave this machine
    environment = {
        **kept, "PYTHONPATH": str(ROOT), "IAM_URL": nowhere, "HTTPS_PROXY": nowhere, "NO_PROXY": "127.0.0.1",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)],
        input=json.dumps([KEY, CRN]),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "needs QISKIT_IBM_TOKEN" in done.stdout
    seen = [done.stdout.encode(), done.stderr.encode()]
    seen += [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(seen) > 5, "the server left no files to look into"
    for text in seen:
        assert KEY.encode() not in text
        assert CRN.encode() not in text
