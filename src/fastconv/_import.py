"""Finds the compiled modules, all of which lie in one shared library (PEP 489 allows several).

A library for each would be far more to load at import and to download: most of a small one is
tables of names that all of them need.
"""

from __future__ import annotations

import sys
from importlib.machinery import ExtensionFileLoader, ModuleSpec
from typing import Any

from fastconv import _native

_LIBRARY: str = _native.__file__


class _Finder:
    """A meta path finder for the modules that `_native` names."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name not in _native.modules:
            return None
        spec = ModuleSpec(name, ExtensionFileLoader(name, _LIBRARY), origin=_LIBRARY)
        spec.has_location = True
        return spec


def install() -> None:
    """Let imports find the modules; before other finders, which might find an older build's."""
    if _Finder not in sys.meta_path:
        sys.meta_path.insert(0, _Finder)
