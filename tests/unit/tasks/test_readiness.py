"""What a spec asks for that no device of its can take is said before anything is planned."""

import pytest

from shotwise.errors import CannotRunError
from shotwise.spec import validate
from tasks.readiness import check_ready, check_sizes

EDGES = [[node, node + 1] for node in range(5)]


def _prepared(**execution: object):
    problem = {"kind": "maxcut", "edges": EDGES}
    spec = validate({"problem": problem, "execution": {"mode": "shots", "shots": 200, **execution}})
    prepared = check_ready(spec)
    assert prepared is not None
    return prepared


def test_a_circuit_wider_than_every_device_is_refused() -> None:
    with pytest.raises(CannotRunError, match="the problem has 6 qubits, the widest device 5"):
        check_sizes(_prepared(devices=["sim-lima", "sim-manila"]))
    check_sizes(_prepared(devices=["sim-lima", "sim-nairobi"]))
    check_sizes(_prepared(device="jax"))
