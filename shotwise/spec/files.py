"""Reading files that a spec names: bounded in size and kept inside the spec's folder."""

from __future__ import annotations

from pathlib import Path

from shotwise.errors import SpecError

FILE_BYTES_MAX = 4 * 1024 * 1024


def read_inside(folder: Path, name: str, *, field: str) -> str:
    """Text of `folder/name`.

    Raises:
        SpecError: the path leaves the folder (links followed), is no regular file, is too large or not UTF-8.
    """
    if "\0" in name:
        raise SpecError(field, name, "NUL in a path", "name a file")
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise SpecError(field, name, "outside the spec's folder", "put the file beside the spec")
    return read_bounded(path, field=field, shown_as=name, bytes_max=FILE_BYTES_MAX)


def read_bounded(path: Path, *, field: str, shown_as: str, bytes_max: int) -> str:
    """Text of a regular UTF-8 file of at most `bytes_max` bytes; never reads more than that.

    Raises:
        SpecError: as `read_inside`.
    """
    try:
        if not path.exists():
            raise SpecError(field, shown_as, "no such file", "check the name")
        if not path.is_file():
            raise SpecError(field, shown_as, "not a regular file", "name one")
        with path.open("rb") as stream:
            data = stream.read(bytes_max + 1)
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
        raise SpecError(field, shown_as, problem, "check its name and permissions") from None
    if len(data) > bytes_max:
        raise SpecError(field, shown_as, f"larger than {bytes_max >> 20} MiB", "make it smaller")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise SpecError(field, shown_as, "not UTF-8 text", "save it as UTF-8") from None
