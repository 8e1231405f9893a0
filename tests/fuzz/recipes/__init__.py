"""A well-formed call of every public function: every module here has those of a subject."""

from collections.abc import Iterator
from importlib import import_module
from pkgutil import iter_modules

from fuzz.recipes.common import RECIPES
from fuzz.targets import LEFT_OUT, public

for _found in iter_modules(__path__, f"{__name__}."):
    import_module(_found.name)  # enters its recipes


def unknown() -> Iterator[str]:
    """Public names without a recipe."""
    return (name for name, _ in public() if name not in RECIPES and name not in LEFT_OUT)
