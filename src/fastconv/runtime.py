"""Threads, instruction sets, accuracy, kept memory and the build: the settings of a process."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, TypeAlias

import numpy as np

from fastconv._cgroup import cpu_quota, memory_quota


@contextmanager
def _short_waits() -> Iterator[None]:
    """Have libgomp's threads wait awake for microseconds only, unless the user has said otherwise.

    By default they spin for milliseconds between parallel regions. On a machine with other work
    that uses up their share of time, and every region then waits for the scheduler: training on
    digits took 31 s so, and 2 s with short waits, beside two busy processes on two cores. libgomp
    reads its environment once, when it is loaded; it is put back as it was after that.
    """
    if {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys():
        yield
        return
    os.environ["GOMP_SPINCOUNT"] = "200"
    try:
        yield
    finally:
        del os.environ["GOMP_SPINCOUNT"]


with _short_waits():
    from fastconv import _import  # loads the library

    _import.install()
    from fastconv._drivers import memory as _memory
    from fastconv._drivers import runtime as _runtime

__all__ = [
    "accuracy",
    "get_accuracy",
    "get_memory_cache",
    "get_num_threads",
    "set_accuracy",
    "set_memory_cache",
    "set_num_threads",
    "show_config",
    "threads",
]


_MAX_THREADS = 1024

Accuracy: TypeAlias = Literal["fast", "strict"]


def _environment_count(name: str) -> int | None:
    """A count of threads from the environment, None where it is unset or no such count."""
    value = os.environ.get(name, "").split(",")[0].strip()  # OpenMP's may list one per level
    return int(value) if value.isdecimal() and 1 <= int(value) <= _MAX_THREADS else None


def _chosen_threads() -> int:
    """FASTCONV_NUM_THREADS, else 0."""
    count = _environment_count("FASTCONV_NUM_THREADS")
    if count is None and (value := os.environ.get("FASTCONV_NUM_THREADS")):
        raise ValueError(
            f"FASTCONV_NUM_THREADS must be a number from 1 to {_MAX_THREADS}, got {value!r}"
        )
    return count or 0


def _available_threads() -> int:
    """OMP_NUM_THREADS, else what affinity and a container's quota leave this process.

    OpenMP is asked for the affinity. The system would tell that of this thread alone, which is one
    CPU's where ``OMP_PROC_BIND`` or ``OMP_PLACES`` had OpenMP bind it when it was loaded, by this
    library or by another that shares it.
    """
    count = _environment_count("OMP_NUM_THREADS")
    if count is not None:
        return count
    return max(1, int(min(_runtime.processors(), cpu_quota())))


def _default_accuracy() -> Accuracy:
    """FASTCONV_ACCURACY, else "fast"."""
    value = os.environ.get("FASTCONV_ACCURACY") or "fast"
    if value not in ("fast", "strict"):
        raise ValueError(f"FASTCONV_ACCURACY must be 'fast' or 'strict', got {value!r}")
    return "strict" if value == "strict" else "fast"


def _default_memory_cache() -> int:
    """FASTCONV_MEMORY_CACHE, else an eighth of the memory there is, but no more than a gigabyte.

    A training step releases what its layers kept, and the next one takes as much: where too little
    is kept, pages fresh from the operating system cost MobileNet a tenth of its time.
    """
    value = os.environ.get("FASTCONV_MEMORY_CACHE")
    if not value:
        return int(min(1 << 30, _memory_size() / 8))
    if not value.isdecimal() or int(value) > sys.maxsize:
        raise ValueError(f"FASTCONV_MEMORY_CACHE must be a number of bytes, got {value!r}")
    return int(value)


def _memory_size() -> float:
    """Bytes of memory that this process may use; two gigabytes where that is not known."""
    try:
        size = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # no such names; Windows has none
        size = 2 << 30
    return min(size, memory_quota()) if size > 0 else 2 << 30


def get_num_threads() -> int:
    """How many threads an op that this thread calls now may use.

    What was set: ``FASTCONV_NUM_THREADS``, `set_num_threads` or `threads`. Where nothing was, the
    CPUs that affinity and a container's quota leave this process (or ``OMP_NUM_THREADS``), but no
    more than OpenMP's own limit for this thread, ``omp_get_max_threads()``, which libraries such as
    threadpoolctl set. 1 in a forked child.

    Examples
    --------
    >>> import fastconv
    >>> fastconv.get_num_threads() >= 1
    True
    """
    return int(_runtime.get_default_threads())


def set_num_threads(n: int) -> None:
    """Set how many threads an op may use, in this whole process.

    Results are the same to the bit for any number. What is set here holds whatever limit OpenMP
    was given; where nothing is set, ops keep to that limit (see `get_num_threads`).

    Parameters
    ----------
    n : int, at least 1

    Raises
    ------
    TypeError, ValueError
        When `n` is not an integer from 1 to 1024.

    Examples
    --------
    >>> import fastconv
    >>> with fastconv.threads(2):
    ...     fastconv.set_num_threads(1)
    ...     fastconv.get_num_threads()
    1
    """
    if isinstance(n, bool) or not isinstance(n, int | np.integer):
        raise TypeError(f"n must be an integer, got {n!r}")
    if not 1 <= n <= _MAX_THREADS:
        raise ValueError(f"n must be from 1 to {_MAX_THREADS}, got {n!r}")
    _runtime.set_threads(int(n))


@contextmanager
def threads(n: int) -> Iterator[None]:
    """Set the number of threads for the length of a ``with`` block, in this whole process.

    Parameters
    ----------
    n : int, at least 1

    Raises
    ------
    TypeError, ValueError
        As `set_num_threads`.

    Examples
    --------
    >>> import fastconv
    >>> with fastconv.threads(1):
    ...     fastconv.get_num_threads()
    1
    """
    before = _runtime.get_threads()
    set_num_threads(n)
    try:
        yield
    finally:
        _runtime.set_threads(before)


def get_accuracy() -> Accuracy:
    """What ``algorithm="auto"`` may choose from: "fast" or "strict".

    Examples
    --------
    >>> import fastconv
    >>> fastconv.get_accuracy() in ("fast", "strict")
    True
    """
    return "strict" if _runtime.get_strict_accuracy() else "fast"


def set_accuracy(mode: Accuracy) -> None:
    """Set what ``algorithm="auto"`` may choose from, in this whole process.

    The default is ``FASTCONV_ACCURACY``, else "fast".

    Parameters
    ----------
    mode : {"fast", "strict"}
        "fast": whatever is expected to take the least time for the shapes at hand. Winograd's
        algorithm is part of it, whose outputs are sums of products of sums; in float32 its
        root-mean-square error is up to 2.5 times that of adding up the products one by one.
        "strict": direct methods only, whose every output is a plain sum of products of what was
        passed. An `algorithm` that is named in a call is taken all the same.

    Raises
    ------
    ValueError
        When `mode` is neither.

    Examples
    --------
    >>> import fastconv
    >>> before = fastconv.get_accuracy()
    >>> fastconv.set_accuracy("strict")
    >>> fastconv.get_accuracy()
    'strict'
    >>> fastconv.set_accuracy(before)
    """
    if mode not in ("fast", "strict"):
        raise ValueError(f"mode must be 'fast' or 'strict', got {mode!r}")
    _runtime.set_strict_accuracy(mode == "strict")


@contextmanager
def accuracy(mode: Accuracy) -> Iterator[None]:
    """Set what ``algorithm="auto"`` may choose from for the length of a ``with`` block.

    Parameters
    ----------
    mode : {"fast", "strict"}
        As in `set_accuracy`.

    Raises
    ------
    ValueError
        As `set_accuracy`.

    Examples
    --------
    >>> import fastconv
    >>> with fastconv.accuracy("strict"):
    ...     fastconv.get_accuracy()
    'strict'
    """
    before = get_accuracy()
    set_accuracy(mode)
    try:
        yield
    finally:
        set_accuracy(before)


def get_memory_cache() -> int:
    """How many bytes of released memory may be kept for the next calls.

    Examples
    --------
    >>> import fastconv
    >>> fastconv.get_memory_cache() >= 0
    True
    """
    return _memory.get_limit()


def set_memory_cache(nbytes: int) -> None:
    """Set how many bytes of released memory may be kept for the next calls, in this whole process.

    The memory of a result that nobody refers to any more, and what an op used while it ran, are
    kept for results to come: memory that is fresh from the operating system must be brought in page
    by page. The default is ``FASTCONV_MEMORY_CACHE``, else an
    eighth of the memory that this process may use, up to 1 GB.

    Parameters
    ----------
    nbytes : int, at least 0
        What is kept beyond it is given back at once: with 0 everything, and nothing is kept from
        then on.

    Raises
    ------
    TypeError, ValueError
        When `nbytes` is not an integer from 0 to ``sys.maxsize``.

    Examples
    --------
    >>> import fastconv
    >>> before = fastconv.get_memory_cache()
    >>> fastconv.set_memory_cache(64 << 20)
    >>> fastconv.get_memory_cache()
    67108864
    >>> fastconv.set_memory_cache(before)
    """
    if isinstance(nbytes, bool) or not isinstance(nbytes, int | np.integer):
        raise TypeError(f"nbytes must be an integer, got {nbytes!r}")
    if not 0 <= nbytes <= sys.maxsize:
        raise ValueError(f"nbytes must be from 0 to {sys.maxsize}, got {nbytes!r}")
    _memory.set_limit(int(nbytes))


def show_config() -> None:
    """Print the versions, compiler, OpenMP, instruction set, threads, accuracy and kept memory.

    Examples
    --------
    >>> import fastconv
    >>> fastconv.show_config()  # doctest: +ELLIPSIS
    fastconv ...
    """
    from fastconv import __version__

    info = _runtime.build_info()
    kept, limit = _memory.kept_bytes() / 2**20, get_memory_cache() / 2**20
    gil = getattr(sys, "_is_gil_enabled", lambda: True)()
    rows = {
        "python": f"{platform.python_implementation()} {platform.python_version()}"
        + ("" if gil else ", without the GIL"),
        "numpy": np.__version__,
        "platform": f"{platform.system()} {platform.machine()}",
        "compiler": info["compiler"],
        "openmp": info["openmp"] or "none: one thread",
        "instruction set": info["isa"],
        "threads": get_num_threads(),
        "accuracy": get_accuracy(),
        "memory cache": f"{kept:.1f} of {limit:.1f} MB",
    }
    print(f"fastconv {__version__}")
    for name, value in rows.items():
        print(f"  {name:<16} {value}")


try:
    _runtime.select_isa(os.environ.get("FASTCONV_ISA") or None)
except ValueError as error:
    raise ValueError(f"FASTCONV_ISA: {error}") from None
_runtime.set_threads(_chosen_threads())
_runtime.set_available_threads(_available_threads())
set_accuracy(_default_accuracy())
set_memory_cache(_default_memory_cache())
