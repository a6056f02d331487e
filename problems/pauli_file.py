"""Any Hamiltonian, given as Pauli strings."""

from __future__ import annotations

import math
import re

from problems.coefficients import check_magnitudes
from problems.pauli import QUBITS_MAX, PauliSum
from problems.problem import Problem
from problems.references import ground_state
from shotwise.errors import UNSHOWN, CannotRunError, SpecError
from shotwise.spec import PauliSpec
from shotwise.words import quantity

_FIELD = "problem.terms"
_LETTERS = re.compile(r"[IXYZ]+")


def pauli_problem(spec: PauliSpec) -> Problem:
    """Minimise sum of coefficient * string; character q of a string acts on qubit q.

    The reference is the ground state over the whole qubit space, without regard to any symmetry.

    Raises:
        SpecError: no strings, letters other than I, X, Y and Z, unequal lengths, coefficients that are not
            finite or too large or small to be squared, or nothing but the identity.
        CannotRunError: more than 62 qubits.
    """
    if spec.terms is None:
        raise ValueError("inline the spec first: its terms are still in a file")
    if not spec.terms:
        raise SpecError(_FIELD, UNSHOWN, "empty", 'list strings, such as "ZZ": 0.5')
    length = len(next(iter(spec.terms)))
    for string, coefficient in spec.terms.items():
        _check(string, coefficient, length)
    if length > QUBITS_MAX:
        raise CannotRunError(
            _FIELD, f"{length} qubits", f"more than {QUBITS_MAX} qubits", "use shorter strings"
        )
    measured = [coefficient for string, coefficient in spec.terms.items() if string.strip("I")]
    if not any(measured):
        raise SpecError(
            _FIELD, next(iter(spec.terms)), "nothing but the identity", "add a string to minimise"
        )
    check_magnitudes(measured, _FIELD)
    hamiltonian = PauliSum.from_strings(spec.terms)
    return Problem(spec.kind, hamiltonian, reference=ground_state(hamiltonian))


def _check(string: str, coefficient: float, length: int) -> None:
    if not _LETTERS.fullmatch(string):
        raise SpecError(_FIELD, string, "not a Pauli string", "use the letters I, X, Y and Z")
    if len(string) != length:
        raise SpecError(
            _FIELD,
            string,
            f"{quantity(len(string), 'letter')}, others have {length}",
            "write every qubit, I included",
        )
    if not math.isfinite(coefficient):
        raise SpecError(_FIELD, f"{string}: {coefficient}", "not a finite number", "give a finite number")
