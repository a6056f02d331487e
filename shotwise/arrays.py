"""Named arrays as bytes, for the journal. Nothing is ever unpickled."""

from __future__ import annotations

import io
import json
import zlib
from collections.abc import Mapping

import numpy as np

_BEGINS = b"arrays1\n"
_LENGTH_BYTES = 4
_LEVEL = 1


def pack(arrays: Mapping[str, np.ndarray]) -> bytes:
    """A JSON header with names, dtypes and shapes, then all values, compressed.

    Leaner than npz, a zip file with a member for every array: a sampled iteration packs two.
    """
    told = [[name, array.dtype.str, array.shape] for name, array in arrays.items()]
    header = json.dumps(told).encode()
    values = b"".join(np.ascontiguousarray(array).tobytes() for array in arrays.values())
    return _BEGINS + len(header).to_bytes(_LENGTH_BYTES, "little") + header + zlib.compress(values, _LEVEL)


def unpack(data: bytes) -> dict[str, np.ndarray]:
    """Read `pack` back, or an npz archive, as earlier versions wrote."""
    if not data.startswith(_BEGINS):
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            return dict(archive)
    start = len(_BEGINS) + _LENGTH_BYTES
    end = start + int.from_bytes(data[len(_BEGINS) : start], "little")
    values, at, arrays = zlib.decompress(data[end:]), 0, {}
    for name, dtype, shape in json.loads(data[start:end]):
        kind = np.dtype(dtype)
        size = kind.itemsize * int(np.prod(shape, dtype=np.int64))
        arrays[name] = np.frombuffer(values[at : at + size], dtype=kind).reshape(shape).copy()
        at += size
    return arrays
