"""The machine and the settings that a result belongs to, and the number of threads."""

from __future__ import annotations

import contextlib
import datetime
import io
import os
import platform
import re
from pathlib import Path
from typing import Any

import numpy as np

import fastconv
from benchmarks import SPINNING, THREAD_VARIABLES

try:
    import threadpoolctl
except ImportError:
    threadpoolctl = None

_RECORDED = (
    *THREAD_VARIABLES,
    SPINNING[0],
    "OPENBLAS_CORETYPE",
    "OMP_WAIT_POLICY",
    "GOMP_SPINCOUNT",
    "FASTCONV_ISA",
)


def set_threads(n: int) -> None:
    """Give fastconv and NumPy's BLAS `n` threads each."""
    fastconv.set_num_threads(n)
    if threadpoolctl is not None:
        threadpoolctl.threadpool_limits(n, user_api="blas")
    elif any(os.environ.get(name) != str(n) for name in THREAD_VARIABLES):
        raise RuntimeError(
            f"cannot give NumPy's BLAS {n} threads: install threadpoolctl, or run one number of "
            "threads at a time"
        )


def busy() -> bool:
    """Whether other processes keep more than a fifth of a core running."""
    return hasattr(os, "getloadavg") and os.getloadavg()[0] > 0.2


def describe() -> dict[str, Any]:
    """CPU, cores, instruction set, versions, BLAS, environment and date."""
    config = io.StringIO()
    with contextlib.redirect_stdout(config):
        fastconv.show_config()
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "load": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
        "system": f"{platform.system()} {platform.machine()}",
        "fastconv": fastconv.__version__,
        "config": dict(re.findall(r"^  (\S.*?)  +(.*)$", config.getvalue(), re.MULTILINE)),
        "blas": _blas(),
        "environment": {name: os.environ[name] for name in _RECORDED if name in os.environ},
    }


def _cpu() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    names = dict(re.findall(r"^(model name|cpu family|model)\s*:\s*(.*)$", text, re.MULTILINE))
    if "model name" not in names:
        return platform.machine()
    return "{model name} (family {cpu family}, model {model})".format_map(names)


def _blas() -> str:
    if threadpoolctl is not None:
        for pool in threadpoolctl.threadpool_info():
            if pool["user_api"] == "blas":
                kernels = pool.get("architecture", "unknown")
                return f"{pool['internal_api']} {pool['version']}, {kernels} kernels"
    built: Any = np.show_config(mode="dicts")
    blas = built["Build Dependencies"]["blas"]
    return f"{blas['name']} {blas['version']}"
