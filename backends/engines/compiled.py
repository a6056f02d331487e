"""Kernels in C, compiled with this machine's compiler when they are first needed.

They are kept beside JAX's compiled programs. Where there is no compiler, or XLA runs on something else than a
CPU, they are not available, and engines do the same through XLA, several times slower.
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
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jax

jax.config.update("jax_enable_x64", True)

_FOLDER = Path(__file__).with_name("kernels")
# Contraction and fast math stay off: the same bytes come out of every compiler.
_FLAGS = ("-O2", "-fPIC", "-shared", "-ffp-contract=off", "-fno-math-errno", "-Wno-psabi")


@dataclass(frozen=True)
class Kernels:
    """The kernels of one source file, through JAX's foreign function interface.

    Attributes:
        source: a file of `kernels`.
        names: of its functions, after "shotwise_".
        real: what its REAL is, where it has one.
    """

    source: str
    names: tuple[str, ...]
    real: str = "double"

    def available(self) -> bool:
        """Whether they run here; compiles them where they have not been."""
        return _registered(self)

    def call(self, name: str, results: Any, *arguments: jax.Array, in_place: int | None = None) -> Any:
        """What one of them, once they are available, makes of arrays; batches go one by one.

        Args:
            in_place: the argument whose place the first result takes.
        """
        aliases = None if in_place is None else {in_place: 0}
        run = jax.ffi.ffi_call(
            self._target(name), results, vmap_method="sequential", input_output_aliases=aliases
        )
        return run(*arguments)

    def library(self) -> ctypes.CDLL | None:
        """The compiled kernels: kept ones, or new ones, or none where nothing here compiles them."""
        folder = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
        if not folder:
            with tempfile.TemporaryDirectory() as scratch:
                return self._compiled(Path(scratch) / "kernels.so")
        kept = Path(folder) / f"shotwise-kernels-{self._digest()}.so"
        if kept.exists() and (library := _loaded(kept)):
            return library
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as scratch:
            made = Path(scratch) / "kernels.so"
            library = self._compiled(made)
            if library is not None:
                os.replace(made, kept)
        return library

    def register(self, library: ctypes.CDLL) -> None:
        for name in self.names:
            function = jax.ffi.pycapsule(getattr(library, f"shotwise_{name}"))
            jax.ffi.register_ffi_target(self._target(name), function, platform="cpu")

    def _compiled(self, path: Path) -> ctypes.CDLL | None:
        compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
        if compiler is None:
            return None
        given = (f"-DREAL={self.real}", "-I", jax.ffi.include_dir(), "-o", str(path))
        command = [compiler, *_FLAGS, *given, str(_FOLDER / self.source), "-lm"]
        failed = subprocess.run(command, capture_output=True, check=False).returncode
        return None if failed else _loaded(path)

    def _digest(self) -> str:
        made_for = (self, sys.platform, platform.machine(), jax.__version__, *_FLAGS)
        sources = b"".join((_FOLDER / name).read_bytes() for name in (self.source, "interface.h"))
        return hashlib.sha256(sources + repr(made_for).encode()).hexdigest()[:16]

    def _target(self, name: str) -> str:
        return f"shotwise_{name}_{self.real}"


def like(array: jax.Array) -> jax.ShapeDtypeStruct:
    """An array's shape and kind, as that of a result."""
    return jax.ShapeDtypeStruct(array.shape, array.dtype)


@cache
def _registered(kernels: Kernels) -> bool:
    if jax.default_backend() != "cpu":
        return False
    library = kernels.library()
    if library is not None:
        kernels.register(library)
    return library is not None


def _loaded(path: Path) -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(str(path))
    except OSError:  # of another machine, or damaged
        return None
