"""The instruction sets that this build has kernels for, as the library itself names them."""

import re
from contextlib import contextmanager

from fastconv._drivers import runtime


def names():
    """Every instruction set that fastconv knows; of those for one processor, the best is last."""
    try:
        runtime.select_isa("no such instruction set")
    except ValueError as error:
        return re.findall(r"'(\w+)'", str(error))
    raise AssertionError("an unknown instruction set was selected")


@contextmanager
def selected(name):
    """Run the body with the kernels of an instruction set."""
    before = runtime.build_info()["isa"]
    runtime.select_isa(name)
    try:
        yield
    finally:
        runtime.select_isa(before)


def is_available(name):
    try:
        with selected(name):
            return True
    except ValueError:
        return False


def available():
    """Those of this build that this processor runs."""
    return [name for name in names() if is_available(name)]
