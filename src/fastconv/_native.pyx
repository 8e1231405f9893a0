"""The one shared library of the package, under its own name: which modules it holds."""

cdef extern from "native_modules.h":
    const char *NATIVE_MODULES  # written by setup.py: full names, separated by spaces

modules = frozenset(NATIVE_MODULES.decode().split())
