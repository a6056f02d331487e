"""Which Gaussian basis sets a molecule may be given, by name only."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from shotwise.errors import SpecError, display_text

_FIELD = "problem.basis"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9()*+,_ -]{0,63}")
_POPLE = re.compile(r"(?:321|431|631|6311)\+{0,2}g(?:\([0-9]?[spdf]+(?:,[0-9]?[spdf]+)?\))?")
_EXAMPLES = "use a known one such as sto-3g, 6-31g or cc-pvdz"


def load_basis(name: str, symbols: Sequence[str]) -> dict[str, list]:
    """PySCF's basis functions of each element.

    Only names that PySCF ships are accepted: it would open a path and parse a text given as a basis.

    Args:
        name: such as "sto-3g"; case, dashes, underscores and spaces do not matter.
        symbols: element symbols.

    Raises:
        SpecError: at ``problem.basis``: an unknown name, one without functions for an element, or one that
            replaces core electrons of an element by an effective potential, which is not supported.
    """
    key = _known_name(name)
    return {symbol: _functions(name, key, symbol) for symbol in dict.fromkeys(symbols)}


def _known_name(name: str) -> str:
    from pyscf.gto.basis import ALIAS

    key = re.sub(r"[-_ ]", "", name.lower())
    known = key in ALIAS or (_POPLE.fullmatch(key) is not None and key.split("(")[0] in ALIAS)
    if not _NAME.fullmatch(name) or not known:
        raise SpecError(_FIELD, name, "unknown basis", _EXAMPLES)
    # PySCF opens a file of that name in the working folder first; dashes, which it drops, avoid any
    while Path(key).exists():
        key += "-"
    return key


def _functions(name: str, key: str, symbol: str) -> list:
    import warnings

    from pyscf.gto import basis
    from pyscf.lib.exceptions import BasisNotFoundError

    with warnings.catch_warnings():
        # it advises installing a package to look further
        warnings.simplefilter("ignore")
        try:
            functions = basis.load(key, symbol)
        except (BasisNotFoundError, KeyError, OSError):
            raise SpecError(_FIELD, name, f"no functions for {display_text(symbol)}", _EXAMPLES) from None
        try:
            core = basis.load_ecp(key, symbol)
        except (BasisNotFoundError, KeyError, OSError, RuntimeError, AttributeError):
            core = None
    if not functions:
        raise SpecError(_FIELD, name, f"no functions for {display_text(symbol)}", _EXAMPLES)
    if core:
        raise SpecError(
            _FIELD,
            name,
            f"an effective core potential for {display_text(symbol)}",
            "use an all-electron basis",
        )
    return functions
