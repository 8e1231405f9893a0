"""Damaged files: the short form of fuzz/files.py."""

from pathlib import Path

import pytest
from support.child import output

FUZZ = Path(__file__).with_name("fuzz") / "files.py"


@pytest.mark.parametrize("seed", ["0", "1"])
def test_damaged_files_are_refused_or_load_correctly(seed):
    lines = output(FUZZ, "--mutations", "600", "--seed", seed).splitlines()
    assert len(lines) >= 5
    assert all("refused" in line and "loaded" in line for line in lines)
