"""Fast convolutional networks on NumPy arrays."""

import os
from typing import TYPE_CHECKING, Any

from fastconv import runtime
from fastconv.runtime import *  # noqa: F403

__version__ = "0.1.0"
# Type checkers take a star import for a re-export; an `__all__` that they cannot read hides it.
if TYPE_CHECKING:
    from fastconv import autograd as autograd
    from fastconv.autograd import Tensor as Tensor
    from fastconv.autograd import no_grad as no_grad
else:
    __all__ = [*runtime.__all__, "Tensor", "get_include", "no_grad"]


def __getattr__(name: str) -> Any:
    """What is imported when it is asked for first: with the ops, it takes 40 ms."""
    if name not in ("Tensor", "autograd", "no_grad"):
        raise AttributeError(f"module 'fastconv' has no attribute {name!r}")
    from importlib import import_module

    autograd = import_module("fastconv.autograd")
    return autograd if name == "autograd" else getattr(autograd, name)


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
    return os.path.join(os.path.dirname(__file__), "include")  # pathlib takes 3 ms to import
