"""A row of the journal tells of one point: energy, gradient, parameters and fidelity."""

import numpy as np
import pytest

from shotwise.spec import validate
from tasks.advance import advance
from tasks.evaluate import answer_exactly, fidelity_at
from tasks.prepare import prepare
from tasks.segment import iterate
from tasks.state import initial

GRAPH = {"kind": "maxcut", "nodes": 6, "edges": [[0, 1], [1, 2], [2, 3], [3, 4], [4, 5], [5, 0], [0, 3]]}


@pytest.mark.parametrize("name", ["lbfgs", "adam", "qng"])
@pytest.mark.parametrize("compiled", [True, False])
def test_the_fidelity_is_that_of_the_row_s_parameters(name: str, compiled: bool) -> None:
    spec = {"problem": GRAPH, "ansatz": {"kind": "qaoa", "layers": 2}, "optimizer": {"name": name}, "seed": 3}
    prepared = prepare(validate(spec | {"execution": {"mode": "exact"}}))
    state, records = initial(prepared), []
    while state.reason is None and len(records) < 12:
        if compiled:
            state, found = iterate(prepared, state, 4)
        else:
            state, record = advance(prepared, state, answer_exactly(prepared, state))
            found = [record]
        records += found
    circuit = prepared.stage().circuit
    rows = [(row.fidelity, np.frombuffer(row.parameters)) for row in records]
    assert sum(fidelity is not None for fidelity, _ in rows) > len(rows) / 2
    for fidelity, parameters in rows:
        if fidelity is not None:
            assert fidelity == pytest.approx(fidelity_at(prepared, circuit, parameters), abs=1e-9)
