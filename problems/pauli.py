"""Pauli sums as bit masks: the observable that every engine and device measures.

Qubit q is bit q of every mask and of every basis-state index. A term is the Hermitian Pauli string

    P(x, z) = i^{|x & z|} X^x Z^z,      P |k> = i^{|x & z|} (-1)^{|k & z|} |k ^ x>,

so a qubit with both bits set carries Y. |.| counts set bits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

QUBITS_MAX = 62
"""Masks are signed 64-bit integers."""

_LETTER = {(0, 0): "I", (1, 0): "X", (0, 1): "Z", (1, 1): "Y"}
_BITS = {"I": (0, 0), "X": (1, 0), "Z": (0, 1), "Y": (1, 1)}


def parity(masks: np.ndarray) -> np.ndarray:
    """Parity of the number of set bits, elementwise: 0 or 1, int64."""
    return (np.bitwise_count(masks) & 1).astype(np.int64)


@dataclass(frozen=True, eq=False)
class PauliSum:
    """A real-weighted sum of Pauli strings on `n_qubits` qubits.

    Attributes:
        x, z: int64 masks, shape (terms,). Each (x, z) pair occurs once.
        coefficients: float64, shape (terms,), in the problem's unit (hartree for molecules).
    """

    n_qubits: int
    x: np.ndarray
    z: np.ndarray
    coefficients: np.ndarray

    @classmethod
    def from_terms(
        cls, n_qubits: int, terms: Mapping[tuple[int, int], float], *, drop_below: float = 0.0
    ) -> PauliSum:
        """Collect {(x, z): coefficient}, largest first; terms up to `drop_below` vanish, the identity not."""
        kept = {k: c for k, c in terms.items() if abs(c) > drop_below or k == (0, 0)}
        ordered = sorted(kept, key=lambda k: (-abs(kept[k]), k))
        return cls(
            n_qubits,
            np.array([k[0] for k in ordered], dtype=np.int64),
            np.array([k[1] for k in ordered], dtype=np.int64),
            np.array([kept[k] for k in ordered], dtype=np.float64),
        )

    @classmethod
    def from_arrays(
        cls,
        n_qubits: int,
        x: np.ndarray,
        z: np.ndarray,
        coefficients: np.ndarray,
        *,
        drop_below_relative: float = 0.0,
    ) -> PauliSum:
        """Collect term arrays in which (x, z) may repeat, largest first.

        Terms up to `drop_below_relative` times the largest vanish, the identity not.
        """
        order = np.lexsort((z, x))
        x, z, coefficients = x[order], z[order], coefficients[order]
        starts = np.flatnonzero(np.r_[True, (np.diff(x) != 0) | (np.diff(z) != 0)])
        x, z, total = x[starts], z[starts], np.add.reduceat(coefficients, starts)
        drop_below = drop_below_relative * np.abs(total).max()
        kept = (np.abs(total) > drop_below) | ((x == 0) & (z == 0))
        x, z, total = x[kept].astype(np.int64), z[kept].astype(np.int64), total[kept]
        order = np.lexsort((z, x, -np.abs(total)))
        return cls(n_qubits, x[order], z[order], total[order].astype(np.float64))

    @classmethod
    def from_strings(cls, strings: Mapping[str, float] | Iterable[tuple[str, float]]) -> PauliSum:
        """From strings such as "XIZ" whose character q acts on qubit q. Repeated strings add up."""
        pairs: list[tuple[str, float]]
        pairs = [*strings.items()] if isinstance(strings, Mapping) else [*strings]  # pyright: ignore
        terms: dict[tuple[int, int], float] = {}
        for string, coefficient in pairs:
            bits = [_BITS[letter] for letter in string]
            key = (sum(b[0] << q for q, b in enumerate(bits)), sum(b[1] << q for q, b in enumerate(bits)))
            terms[key] = terms.get(key, 0.0) + coefficient
        return cls.from_terms(len(pairs[0][0]), terms)

    def __len__(self) -> int:
        return len(self.coefficients)

    @property
    def pauli(self) -> PauliSum:
        """Itself: every observable has this form."""
        return self

    def strings(self) -> list[str]:
        """Terms as Pauli strings, character q for qubit q."""
        return [
            "".join(_LETTER[int(x) >> q & 1, int(z) >> q & 1] for q in range(self.n_qubits))
            for x, z in zip(self.x, self.z, strict=True)
        ]

    @property
    def is_diagonal(self) -> bool:
        """Whether every term is made of I and Z only."""
        return not self.x.any()

    @property
    def constant(self) -> float:
        """Coefficient of the identity."""
        return float(self.coefficients[(self.x == 0) & (self.z == 0)].sum())

    def without_constant(self) -> PauliSum:
        """The same sum less its identity term, which needs no measurement."""
        keep = (self.x != 0) | (self.z != 0)
        return PauliSum(self.n_qubits, self.x[keep], self.z[keep], self.coefficients[keep])

    def diagonal(self) -> np.ndarray:
        """Eigenvalues of a diagonal sum over all basis states, float64, shape (2**n_qubits,)."""
        if not self.is_diagonal:
            raise ValueError("diagonal() needs a sum of I and Z only")
        return self.diagonal_at(np.arange(1 << self.n_qubits, dtype=np.int64))

    def diagonal_at(self, states: np.ndarray) -> np.ndarray:
        """Diagonal matrix elements of the I/Z terms at the given basis states, shape of `states`."""
        energies = np.zeros(states.shape)
        for x, z, coefficient in zip(self.x, self.z, self.coefficients, strict=True):
            if x == 0:
                energies += coefficient * (1 - 2 * parity(states & z))
        return energies
