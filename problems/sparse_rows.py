"""Real sparse matrices as plain arrays: what engines and files hold, without scipy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scipy.sparse import csr_array


@dataclass(frozen=True, eq=False)
class SparseRows:
    """A square matrix in compressed sparse rows: row j has the values of starts[j] to starts[j + 1].

    Attributes:
        starts: shape (rows + 1,).
        columns: int32, shape (nonzeros,).
        values: float64, shape (nonzeros,).
    """

    starts: np.ndarray
    columns: np.ndarray
    values: np.ndarray

    @classmethod
    def of(cls, matrix: csr_array) -> SparseRows:
        return cls(matrix.indptr, matrix.indices.astype(np.int32), matrix.data)

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Nonzeros of each row."""
        return np.diff(self.starts)

    @property
    def rows(self) -> np.ndarray:
        """The row of each value."""
        return np.repeat(np.arange(len(self)), self.lengths)

    def dense(self) -> np.ndarray:
        matrix = np.zeros((len(self), len(self)))
        matrix[self.rows, self.columns] = self.values
        return matrix

    def scipy(self) -> csr_array:
        from scipy.sparse import csr_array

        return csr_array((self.values, self.columns, self.starts), shape=(len(self), len(self)))
