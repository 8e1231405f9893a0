"""Files that are made from a list that each is about, before anything is compiled.

They are committed, to be read and found; setup.py makes them at every build, and
tests/test_codegen.py says where one is not what its list makes.
"""

from collections.abc import Iterator
from pathlib import Path

from codegen import c_level, isas, kernels, stubs
from codegen.files import PACKAGE


def made() -> Iterator[tuple[Path, str]]:
    """Every generated file, and the text that it should have."""
    for part in (c_level, isas, kernels, stubs):
        for path, text in part.texts().items():
            yield PACKAGE / path, text


def write(path: Path, text: str) -> None:
    """Write `text`, unless the file holds it: what depends on the file is then not built again."""
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8", newline="\n")


def make() -> None:
    """Write the files that are not as they should be."""
    for path, text in made():
        write(path, text)
