"""Made files: where they go, and their being written only when they change."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "fastconv"
KERNELS = PACKAGE / "_kernels"
DRIVERS = PACKAGE / "_drivers"


def write(path: Path, text: str) -> None:
    """Write `text`, unless the file holds it: what depends on the file is then not built again."""
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8", newline="\n")
