"""Builds a small extension against the fastconv that is imported."""

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig

import pytest

SETUP = """
from Cython.Build import cythonize
from setuptools import Extension, setup
setup(name="{name}", ext_modules=cythonize(Extension("{name}", ["{name}.pyx"])))
"""


def build(name, folder):
    """The module `name` that the setup.py in `folder` makes.

    Where there is none, a stranger's shortest is written, for ``name.pyx``.
    """
    compiler = (sysconfig.get_config_var("CC") or "").split()
    if compiler and shutil.which(compiler[0]) is None:
        pytest.skip(f"needs the C compiler that built Python, {compiler[0]}")
    setup = folder / "setup.py"
    if not setup.exists():
        setup.write_text(SETUP.format(name=name), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, setup.name, "build_ext", "--inplace"],
        cwd=folder,
        env=os.environ | {"CFLAGS": "-O1"},  # sooner done than with Python's own flags
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (library,) = folder.glob(f"{name}{sysconfig.get_config_var('EXT_SUFFIX')}")
    spec = importlib.util.spec_from_file_location(name, library)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
