"""Fast convolutional networks on NumPy arrays."""

from pathlib import Path

from fastconv.runtime import (
    accuracy,
    get_accuracy,
    get_memory_cache,
    get_num_threads,
    set_accuracy,
    set_memory_cache,
    set_num_threads,
    show_config,
    threads,
)

__version__ = "0.1.0"
__all__ = [
    "accuracy",
    "get_accuracy",
    "get_include",
    "get_memory_cache",
    "get_num_threads",
    "set_accuracy",
    "set_memory_cache",
    "set_num_threads",
    "show_config",
    "threads",
]


def get_include() -> str:
    """The folder of ``fastconv.h``, for the include directories of a C or C++ extension.

    Returns
    -------
    str
        A path. The header's own comment, and docs/c-api.md, say how an extension uses it; Cython
        needs none: ``from fastconv cimport conv2d_f32``.

    Examples
    --------
    >>> import os, fastconv
    >>> os.listdir(fastconv.get_include())
    ['fastconv.h']
    """
    return str(Path(__file__).parent / "include")
