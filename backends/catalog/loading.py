"""Read the catalog: TOML tables `device.NAME`, and `price.NAME` and `queue.NAME` that devices refer to.

A device's `price` and `queue` are either such a name or a table of their own. A folder of the user's may add
devices and change fields of shipped ones; a price or queue replaced there holds for every device that refers
to it.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, NoReturn

from pydantic import ValidationError

from backends.catalog.description import DeviceDescription
from shotwise.complaints import complaint
from shotwise.errors import CannotRunError, SpecError

CATALOG = "SHOTWISE_CATALOG"
"""Environment variable that names a folder of the user's."""
_SECTIONS = ("device", "price", "queue")
_BYTES_MAX = 1 << 20
_DROPPED = {
    "honours_tokens": "no field any more, its adapter knows whether a repeated token buys nothing",
    "simulated": "no field any more, nothing went by it",
}
"""Fields that devices once had, and why not now."""


@dataclass(frozen=True)
class Catalog:
    """Devices by name, in alphabetical order."""

    devices: tuple[DeviceDescription, ...]

    def __iter__(self) -> Iterator[DeviceDescription]:  # type: ignore[override]
        return iter(self.devices)

    def __len__(self) -> int:
        return len(self.devices)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(device.name for device in self.devices)

    @property
    def enabled(self) -> tuple[DeviceDescription, ...]:
        """What dispatch is offered where the user names no devices."""
        return tuple(device for device in self.devices if device.enabled)

    def __getitem__(self, name: str) -> DeviceDescription:
        """The device of that name.

        Raises:
            CannotRunError: there is none.
        """
        for device in self.devices:
            if device.name == name:
                return device
        close = difflib.get_close_matches(name, self.names, n=3)
        remedy = f"did you mean {' or '.join(close)}? " if close else ""
        remedy += "`shotwise devices --all` lists them all"
        raise CannotRunError("execution.device", name, "no such device", remedy)


@dataclass(frozen=True)
class _Table:
    """One TOML table and the file that it is from."""

    file: str
    content: dict[str, Any]


def load_catalog(extra: Path | None = None) -> Catalog:
    """The shipped devices, and what the `*.toml` files of a folder say beside.

    Args:
        extra: the folder; by default the one that `SHOTWISE_CATALOG` names, if it does.

    Raises:
        SpecError: a file cannot be read or says something that cannot be meant; names file and key.
    """
    return _load(extra or (Path(named) if (named := os.environ.get(CATALOG)) else None))


@lru_cache(maxsize=4)
def _load(extra: Path | None) -> Catalog:
    folders = [_read_folder(_shipped_folder())]
    if extra is not None:
        if not extra.is_dir():
            raise SpecError(CATALOG, str(extra), "no such folder", "name a folder of TOML files")
        folders.append(_read_folder(extra))
    return _build(folders)


def _shipped_folder() -> Path:
    # the package is installed as files: qiskit-ibm-runtime's snapshots need that too
    return Path(str(resources.files("backends.catalog"))) / "data"


def _build(folders: list[dict[tuple[str, str], _Table]]) -> Catalog:
    tables: dict[tuple[str, str], _Table] = {}
    for folder in folders:
        for key, table in folder.items():
            known = tables[key].content if key in tables and key[0] == "device" else {}
            tables[key] = _Table(table.file, known | table.content)
    names = sorted(name for section, name in tables if section == "device")
    return Catalog(tuple(_device(name, tables) for name in names))


def _read_folder(folder: Path) -> dict[tuple[str, str], _Table]:
    tables: dict[tuple[str, str], _Table] = {}
    for path in sorted(folder.glob("*.toml")):
        for key, content in _read(path).items():
            if key in tables:
                _refuse(
                    path.name, ".".join(key), key[1], f"already in {tables[key].file}", "choose another name"
                )
            tables[key] = _Table(path.name, content)
    return tables


def _read(path: Path) -> dict[tuple[str, str], dict[str, Any]]:
    try:
        if path.stat().st_size > _BYTES_MAX:
            _refuse(path.name, "file", path.stat().st_size, "larger than 1 MiB", "split it")
        whole = tomllib.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        _refuse(path.name, "file", str(error), "cannot be read as TOML", "correct it")
    for section, entries in whole.items():
        if section not in _SECTIONS:
            _refuse(path.name, section, section, "unknown section", f"use {', '.join(_SECTIONS)}")
        for name, content in entries.items() if isinstance(entries, dict) else [("", entries)]:
            if not isinstance(content, dict):
                _refuse(
                    path.name,
                    f"{section}.{name}".rstrip("."),
                    content,
                    "not a table",
                    f"write [{section}.NAME]",
                )
    return {(section, name): content for section, part in whole.items() for name, content in part.items()}


def _device(name: str, tables: dict[tuple[str, str], _Table]) -> DeviceDescription:
    table = tables["device", name]
    content = dict(table.content)
    for field in sorted(_DROPPED.keys() & content.keys()):
        _refuse(table.file, f"device.{name}.{field}", content[field], _DROPPED[field], "delete this line")
    for section in ("price", "queue"):
        reference = content.get(section)
        if isinstance(reference, str):
            if (section, reference) not in tables:
                known = ", ".join(sorted(n for s, n in tables if s == section))
                _refuse(
                    table.file, f"device.{name}.{section}", reference, "no such name", f"use one of {known}"
                )
            content[section] = tables[section, reference].content
    try:
        return DeviceDescription.model_validate({"name": name, **content})
    except ValidationError as error:
        field, found, problem, remedy = complaint(error, DeviceDescription, "see docs/configuration.md")
        place = f"device.{name}.{field}" if field else f"device.{name}"
        _refuse(table.file, place, found, problem, remedy)


def _refuse(file: str, key: str, value: object, problem: str, remedy: str) -> NoReturn:
    raise SpecError(f"{file}: {key}", value, problem, remedy)
