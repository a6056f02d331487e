"""Arrays in the journal: what is packed comes back, also from earlier versions; nothing is unpickled."""

import io

import numpy as np
import pytest

from shotwise.arrays import pack, unpack

ARRAYS = {
    "header": np.array('{"format": 1}'),
    "nothing": np.zeros((0, 3)),
    "scalar": np.array(7, dtype=np.int64),
    "ring": np.linspace(0.0, 1.0, 12).reshape(3, 4),
    "across": np.arange(12, dtype=np.int32).reshape(3, 4).T,
    "flags": np.array([True, False]),
}


@pytest.mark.parametrize("archive", [False, True])
def test_arrays_come_back_as_they_were(archive: bool) -> None:
    if archive:
        buffer = io.BytesIO()
        np.savez(buffer, **ARRAYS)
        data = buffer.getvalue()
    else:
        data = pack(ARRAYS)
    found = unpack(data)
    assert list(found) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(found[name], array)
        found[name][...] = found[name]  # not read-only


def test_the_same_arrays_give_the_same_bytes() -> None:
    assert pack(ARRAYS) == pack({name: array.copy() for name, array in ARRAYS.items()})


def test_objects_are_neither_packed_nor_unpacked() -> None:
    with pytest.raises((TypeError, ValueError)):
        unpack(pack({"evil": np.array([{}, print], dtype=object)}))
