"""Excitations in a sector by kernels in C, which touch only the determinants that move.

`kernels.c` is compiled with this machine's C compiler when it is first needed, in half a second, and kept
beside JAX's compiled programs. Where there is no compiler, or XLA runs on something else than a CPU,
`available` is False and `backends.engines.gathers` does the same through XLA, some five times slower.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from backends.engines.program import capacity
from problems.sparse_rows import SparseRows

jax.config.update("jax_enable_x64", True)

_SOURCE = Path(__file__).with_name("kernels.c")
_KERNELS = ("rotate", "derivatives", "tangents", "couple")
# Contraction and fast math stay off: the same bytes come out of every compiler.
_FLAGS = ("-O2", "-fPIC", "-shared", "-ffp-contract=off", "-fno-math-errno")


class Pairs(NamedTuple):
    """Rotations as the pairs of determinants that they turn; see `backends.engines.gathers.Excitations`.

    Attributes:
        starts: int32, shape (rows + 1,): row k has the pairs of starts[k] to starts[k + 1].
        first, second: int32, shape (pairs,): of (i, j), psi[i] takes + sin(a/2) psi[j].
    """

    starts: jax.Array
    first: jax.Array
    second: jax.Array

    @classmethod
    def of(cls, first: Sequence[np.ndarray], second: Sequence[np.ndarray], length: int) -> Pairs:
        """From the pairs of each row; arrays of `length` pairs, so that other circuits share their shape."""
        starts = np.cumsum([0, *map(len, first)])
        flat = np.zeros((2, length), dtype=np.int32)
        flat[:, : starts[-1]] = np.concatenate(first), np.concatenate(second)
        return cls(jnp.asarray(starts, dtype=jnp.int32), jnp.asarray(flat[0]), jnp.asarray(flat[1]))

    @property
    def rows(self) -> int:
        return len(self.starts) - 1

    def state(self, start: jax.Array, angles: jax.Array) -> jax.Array:
        return _call("rotate", _like(start), *self, angles, start)

    def derivatives(self, state: jax.Array, adjoint: jax.Array, angles: jax.Array) -> jax.Array:
        both = jnp.stack([state, adjoint])
        return _call("derivatives", (_like(angles), _like(both)), *self, angles, both)[0]

    def tangents(self, start: jax.Array, angles: jax.Array, slopes: jax.Array) -> jax.Array:
        tangents = jax.ShapeDtypeStruct((slopes.shape[1], len(start)), start.dtype)
        return _call("tangents", (tangents, _like(start)), *self, angles, slopes, start)[0]


class CsrMatrix(NamedTuple):
    """H in compressed sparse rows, as `problems.sparse_rows.SparseRows`.

    There is room behind the last row, so that other geometries, with other zeros, share the arrays' shape.
    """

    starts: jax.Array
    columns: jax.Array
    values: jax.Array

    @classmethod
    def of(cls, matrix: SparseRows) -> CsrMatrix:
        padding = capacity(len(matrix.values)) - len(matrix.values)
        starts, columns = (
            matrix.starts.astype(np.int32),
            np.pad(matrix.columns.astype(np.int32), (0, padding)),
        )
        return cls(
            jnp.asarray(starts), jnp.asarray(columns), jnp.asarray(np.pad(matrix.values, (0, padding)))
        )

    def apply(self, psi: jax.Array) -> jax.Array:
        return _call("couple", _like(psi), *self, psi)


@cache
def available() -> bool:
    """Whether the kernels run here; compiles them where they have not been."""
    if jax.default_backend() != "cpu":
        return False
    library = _library()
    if library is None:
        return False
    for kernel in _KERNELS:
        function = jax.ffi.pycapsule(getattr(library, _target(kernel)))
        jax.ffi.register_ffi_target(_target(kernel), function, platform="cpu")
    return True


def _library() -> ctypes.CDLL | None:
    """The compiled kernels: kept ones, or new ones, or none where nothing here compiles them."""
    folder = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    if not folder:
        with tempfile.TemporaryDirectory() as scratch:
            return _compiled(Path(scratch) / "kernels.so")
    kept = Path(folder) / f"shotwise-kernels-{_digest()}.so"
    if kept.exists() and (library := _loaded(kept)):
        return library
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent) as scratch:
        made = Path(scratch) / "kernels.so"
        library = _compiled(made)
        if library is not None:
            os.replace(made, kept)
    return library


def _compiled(path: Path) -> ctypes.CDLL | None:
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return None
    command = [compiler, *_FLAGS, "-I", jax.ffi.include_dir(), "-o", str(path), str(_SOURCE), "-lm"]
    failed = subprocess.run(command, capture_output=True, check=False).returncode
    return None if failed else _loaded(path)


def _loaded(path: Path) -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(str(path))
    except OSError:  # of another machine, or damaged
        return None


def _digest() -> str:
    made_for = (sys.platform, platform.machine(), jax.__version__, *_FLAGS)
    return hashlib.sha256(_SOURCE.read_bytes() + repr(made_for).encode()).hexdigest()[:16]


def _target(kernel: str) -> str:
    return f"shotwise_{kernel}"


def _call(kernel: str, results: Any, *arguments: jax.Array) -> Any:
    return jax.ffi.ffi_call(_target(kernel), results, vmap_method="sequential")(*arguments)


def _like(array: jax.Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(array.shape, array.dtype)
