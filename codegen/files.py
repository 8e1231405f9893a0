"""Where generated files go."""

from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "src" / "fastconv"
KERNELS = PACKAGE / "_kernels"
