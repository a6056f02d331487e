"""The unit of quantum work: which circuits to run, in which bases, how often. Plain arrays, any device."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from problems.circuit import Circuit, Rotation
from shotwise.arrays import pack, unpack


@dataclass(frozen=True, eq=False)
class Bases:
    """Measurement bases: one Pauli a qubit, as masks, after Clifford rotations where a basis has any.

    Attributes:
        x, z: int64, shape (bases,). Per qubit: x only measures X, both measure Y, otherwise Z.
        cliffords: for each basis the (x, z) of the Pauli rotations by pi/2 that come before these Paulis;
            () where no basis has any.
        copies: per basis, how often the ansatz U runs: 1; an odd number c for U (U^-1 U)^((c-1)/2), the same
            state with more noise; 0 for none at all, |0...0>. () where all are 1.
        flips: per basis, a mask of the qubits that an X flips right before they are read. () for none.
            Outcomes are as read, flips included.
    """

    x: np.ndarray
    z: np.ndarray
    cliffords: tuple[tuple[tuple[int, int], ...], ...] = ()
    copies: tuple[int, ...] = ()
    flips: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.x)

    def clifford(self, basis: int) -> tuple[tuple[int, int], ...]:
        """The Pauli rotations of a basis that come before its single-qubit Paulis."""
        return self.cliffords[basis] if self.cliffords else ()

    def key(self) -> bytes:
        """Content: equal bases have equal keys."""
        rest = self.cliffords or (), self.copies, self.flips
        return b"".join((self.x.tobytes(), self.z.tobytes(), repr(rest).encode()))

    @property
    def varied(self) -> bool:
        """Whether any basis asks for more than the ansatz and a basis change: only some devices do that."""
        return any(copies != 1 for copies in self.copies) or any(self.flips)

    def copies_at(self, basis: int) -> int:
        return self.copies[basis] if self.copies else 1

    def flips_at(self, basis: int) -> int:
        return self.flips[basis] if self.flips else 0

    def variations(self, each: Sequence[tuple[int, int]]) -> Bases:
        """All bases once for every (copies, flips): basis b in variation v is number v * len(self) + b."""
        times = len(each)
        return Bases(
            np.tile(self.x, times),
            np.tile(self.z, times),
            self.cliffords * times,
            copies=tuple(copies for copies, _ in each for _ in range(len(self))),
            flips=tuple(flips for _, flips in each for _ in range(len(self))),
        )

    def rotations(self, basis: int, n_qubits: int) -> list[Rotation]:
        """Fixed rotations that turn the basis into the computational one: RY(-pi/2) for X, RX(pi/2) for Y."""
        rows = [Rotation(x, z, offset=np.pi / 2) for x, z in self.clifford(basis)]
        for bit in (1 << q for q in range(n_qubits)):
            if int(self.x[basis]) & bit:
                is_y = bool(int(self.z[basis]) & bit)
                rows.append(Rotation(bit, 0 if is_y else bit, offset=np.pi / 2 if is_y else -np.pi / 2))
        return rows


@dataclass(frozen=True, eq=False)
class ExecutionPlan:
    """A batch of circuits that differ in angles, basis and shots.

    Attributes:
        circuit: the ansatz that all of them share.
        angles: radians, shape (points, rotations).
        bases: the measurement bases that rows refer to.
        point, basis, shots: int64, shape (rows,): row r runs angles[point[r]] in basis[r], shots[r] times.
        seed: entropy and path of the sampling randomness; simulated rows draw from (seed, row).
    """

    circuit: Circuit
    angles: np.ndarray
    bases: Bases
    point: np.ndarray
    basis: np.ndarray
    shots: np.ndarray
    seed: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.point)

    @property
    def shots_total(self) -> int:
        return int(self.shots.sum())

    def part(self, rows: np.ndarray, shots: np.ndarray, *, branch: int) -> ExecutionPlan:
        """Some of its rows, with shots of their own, drawing from a branch of its seed."""
        seed = (*self.seed, branch)
        return replace(self, point=self.point[rows], basis=self.basis[rows], shots=shots, seed=seed)

    def generator(self, row: int) -> np.random.Generator:
        """The random generator of a simulated row."""
        entropy, *path = self.seed
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy, spawn_key=(*path, row))))


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a device saw: for each row of a plan, the distinct basis states and how often each came.

    Attributes:
        states: int64 basis states of all rows, concatenated; qubit q is bit q, after the basis change.
        counts: int64, same shape.
        offsets: int64, shape (rows + 1,): row r owns states[offsets[r]:offsets[r + 1]].
    """

    states: np.ndarray
    counts: np.ndarray
    offsets: np.ndarray

    @classmethod
    def from_rows(cls, rows: list[tuple[np.ndarray, np.ndarray]]) -> Outcome:
        """Join [(states, counts)] of every row."""
        empty = np.zeros(0, dtype=np.int64)
        return cls(
            np.concatenate([states for states, _ in rows] or [empty]).astype(np.int64),
            np.concatenate([counts for _, counts in rows] or [empty]).astype(np.int64),
            np.cumsum([0, *(len(states) for states, _ in rows)], dtype=np.int64),
        )

    @classmethod
    def summed(cls, rows: int, parts: Iterable[tuple[np.ndarray, Outcome]]) -> Outcome:
        """An outcome of `rows` rows from parts, each with the row that each of its own adds its counts to."""
        whole = [(np.repeat(to, np.diff(part.offsets)), part.states, part.counts) for to, part in parts]
        if not whole:
            return cls.from_rows([(np.zeros(0), np.zeros(0))] * rows)
        row, states, counts = (np.concatenate(column) for column in zip(*whole, strict=True))
        distinct, place = np.unique(np.stack([row, states]), axis=1, return_inverse=True)
        totals = np.zeros(distinct.shape[1], dtype=np.int64)
        np.add.at(totals, place.ravel(), counts)
        return cls(distinct[1], totals, np.searchsorted(distinct[0], np.arange(rows + 1)))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def shots(self) -> np.ndarray:
        """Shots that each row brought, int64."""
        return np.diff(np.concatenate([[0], np.cumsum(self.counts, dtype=np.int64)])[self.offsets])

    def row(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        """(states, counts) of one row."""
        part = slice(int(self.offsets[row]), int(self.offsets[row + 1]))
        return self.states[part], self.counts[part]

    def to_bytes(self) -> bytes:
        """See `shotwise.arrays`."""
        return pack({"states": self.states, "counts": self.counts, "offsets": self.offsets})

    @classmethod
    def from_bytes(cls, data: bytes) -> Outcome:
        """Read `to_bytes` back; never unpickles."""
        return cls(**unpack(data))
