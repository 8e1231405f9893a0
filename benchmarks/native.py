"""C that a measurement needs, compiled when it is needed."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import sysconfig
import tempfile
from pathlib import Path


def compiled(source: Path, *options: str) -> ctypes.CDLL | None:
    """The functions of a C file; None without a C compiler."""
    compiler = shutil.which((sysconfig.get_config_var("CC") or "cc").split()[0])
    if compiler is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder, source.stem + ".so")
        command = [compiler, "-O3", *options, "-shared", "-fPIC", "-o", library, source]
        if subprocess.run(command, capture_output=True, check=False).returncode != 0:
            return None
        return ctypes.CDLL(str(library))  # stays loaded when its file is gone
