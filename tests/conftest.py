"""What every test shares."""

import os
import signal
from importlib.util import find_spec

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from support import isas

from fastconv._drivers import runtime

# "repeat" draws the same examples in every run, so that a failure is one; look further afield with
# HYPOTHESIS_PROFILE=explore. Emulators are slow: "brief" is for them.
_quiet = [HealthCheck.too_slow, HealthCheck.differing_executors]
settings.register_profile(
    "repeat", derandomize=True, deadline=None, max_examples=150, suppress_health_check=_quiet
)
settings.register_profile("brief", settings.get_profile("repeat"), max_examples=10)
settings.register_profile(
    "explore", deadline=None, max_examples=2000, suppress_health_check=_quiet, print_blob=True
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeat"))

# A shell's background jobs ignore Ctrl-C, and so would the children in which tests send it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_runtest_setup(item):
    """Skips a test whose ``peer`` marker names a library that is not installed."""
    for mark in item.iter_markers("peer"):
        for package in mark.args:
            if find_spec(package) is None:
                pytest.skip(f"{package} is not installed")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(params=runtime.available_isas())
def isa(request):
    """Runs the test once with the kernels of each instruction set."""
    with isas.selected(request.param):
        yield request.param
