"""Checks that graphs, QUBO and Ising problems share: a list of weighted pairs of nodes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from problems.coefficients import check_magnitudes
from problems.pauli import QUBITS_MAX
from shotwise.errors import UNSHOWN, CannotRunError, SpecError


def count_nodes(
    pairs: Sequence[tuple[int, int, float]], nodes: int | None, field: str, nodes_max: int = QUBITS_MAX
) -> int:
    """How many nodes there are: as given, or one more than the largest that a pair names.

    Raises:
        SpecError: at `field`: no pairs, a node outside 0..nodes-1, the same pair twice in either order,
            weights that are not finite, all zero, or too large or small to be squared.
        CannotRunError: more than `nodes_max` nodes: by default 62, more than which no basis state holds.
    """
    if not pairs:
        raise SpecError(field, UNSHOWN, "empty", "list at least one pair")
    count = nodes if nodes is not None else 1 + max(max(i, j) for i, j, _ in pairs)
    seen: set[tuple[int, int]] = set()
    for i, j, weight in pairs:
        if not (0 <= i < count and 0 <= j < count):
            raise SpecError(
                field, [i, j], f"a node outside 0 to {count - 1}", "count nodes from 0, or raise `nodes`"
            )
        if not math.isfinite(weight):
            raise SpecError(field, [i, j, weight], "not a finite number", "give a finite number")
        pair = (min(i, j), max(i, j))
        if pair in seen:
            raise SpecError(
                field, [i, j], "the pair appears twice", "add the two values up and keep one of them"
            )
        seen.add(pair)
    if not any(weight for _, _, weight in pairs):
        raise SpecError(field, UNSHOWN, "all zero", "give at least one that is not")
    check_magnitudes((weight for _, _, weight in pairs), field)
    check_qubits(count, nodes_max=nodes_max)
    return count


def check_qubits(count: int, field: str = "problem.nodes", nodes_max: int = QUBITS_MAX) -> None:
    """Raise CannotRunError where `count` qubits are more than masks, or a method, can hold."""
    if count > nodes_max:
        raise CannotRunError(field, count, f"more than {nodes_max} qubits", f"use at most {nodes_max} nodes")
