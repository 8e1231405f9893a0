"""The instruction sets of this build, and running with one of them."""

from contextlib import contextmanager

from fastconv._drivers import runtime


@contextmanager
def selected(name):
    """Run the body with the kernels of an instruction set."""
    before = runtime.build_info()["isa"]
    runtime.select_isa(name)
    try:
        yield
    finally:
        runtime.select_isa(before)
