"""Fast convolutional networks on NumPy arrays."""

from pathlib import Path
from typing import TYPE_CHECKING

from fastconv import runtime
from fastconv.runtime import *  # noqa: F403

__version__ = "0.1.0"
# Type checkers take a star import for a re-export; an `__all__` that they cannot read hides it.
if not TYPE_CHECKING:
    __all__ = [*runtime.__all__, "get_include"]


def get_include() -> str:
    """The folder of ``fastconv.h``, for the include directories of a C or C++ extension.

    Returns
    -------
    str
        A path. The header's own comment, and docs/c-api.md, say how an extension uses it; Cython
        needs none: ``from fastconv cimport conv_f32``.

    Examples
    --------
    >>> import os, fastconv
    >>> os.listdir(fastconv.get_include())
    ['fastconv.h']
    """
    return str(Path(__file__).parent / "include")
