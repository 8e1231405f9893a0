"""Every example runs, and every public name says what it takes, returns and raises."""

import doctest
import importlib
import inspect
import pkgutil
import re
from dataclasses import is_dataclass

import numpy as np
import pytest

import fastconv
import fastconv.data
from fastconv import functional
from fastconv.autograd import Node

MODULES = sorted(
    m.name
    for m in pkgutil.walk_packages(fastconv.__path__, "fastconv.")
    if not m.name.endswith("__main__")
)


@pytest.mark.parametrize("name", ["fastconv", *MODULES])
def test_examples_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    with fastconv.threads(1), np.printoptions():
        failed, _ = doctest.testmod(module)
    assert not failed


def test_examples_of_every_op_are_found():
    finder = doctest.DocTestFinder(exclude_empty=True)
    for name in functional.__all__:
        op = getattr(functional, name)
        tests = finder.find(importlib.import_module(op.__module__))
        assert any(test.name == f"{op.__module__}.{name}" and test.examples for test in tests), name


# ---------------------------------------------------------------- numpydoc

MODULES = [
    "",
    ".autograd",
    ".functional",
    ".nn",
    ".nn.models",
    ".optim",
    ".init",
    ".data",
    ".io",
    ".training",
]
MODULES += [".testing"]


def public():
    """Every public function and class, by the name that users import."""
    found = {}
    for suffix in MODULES:
        module = importlib.import_module(f"fastconv{suffix}")
        for name in module.__all__:
            value = getattr(module, name)
            if value is Node:  # compiled: its fields are explained where they are declared
                continue
            if inspect.isroutine(value) or inspect.isclass(value):
                found.setdefault(value, f"fastconv{suffix}.{name}")
    return found


PUBLIC = public()


def sections(doc):
    """Text under every underlined heading of a docstring; before the first, under ""."""
    parts = re.split(r"^(\w[\w ]*)\n-{3,}\n", f"\n{doc}", flags=re.MULTILINE)
    return {"": parts[0], **dict(zip(parts[1::2], parts[2::2], strict=True))}


def explained(text):
    """The names that a section explains, as in ``a, b : type`` and ``*args``."""
    heads = re.findall(r"^([\w*][\w*, ]*?)(?: *:.*)?$", text, re.MULTILINE)
    return {name.strip(" *") for head in heads for name in head.split(",")}


def is_base(value):
    """Whether other public classes derive from this one: no example fits it."""
    return any(issubclass(c, value) for c in PUBLIC if inspect.isclass(c) and c is not value)


#: these read files that are not shipped
WITHOUT_EXAMPLE = {fastconv.data.load_mnist, fastconv.data.load_fashion_mnist}


def has_fields(value):
    """Whether it is a mere record: its fields stand in the class, each with its type."""
    return is_dataclass(value) or issubclass(value, tuple)


@pytest.mark.parametrize("value", [pytest.param(v, id=name) for v, name in PUBLIC.items()])
def test_docstrings_have_parameters_returns_and_raises_sections(value):
    found = sections(inspect.getdoc(value))
    summary, signature = found[""].strip(), inspect.signature(value)
    assert summary.splitlines()[0].endswith((".", ":"))
    if inspect.isclass(value) and (is_base(value) or has_fields(value)):
        return
    takes = set(signature.parameters)
    as_another = re.search(r"Parameters\b.* those of :func:", summary)
    assert as_another or explained(found.get("Parameters", "")) == takes
    if takes:
        assert "Examples" in found or value in WITHOUT_EXAMPLE
    if takes and inspect.isroutine(value) and not as_another:
        if signature.return_annotation not in (None, "None"):
            manages = inspect.isgeneratorfunction(inspect.unwrap(value))
            assert manages or {"Returns", "Yields"} & set(found)
        # the model zoo raises what its layers do, and tolerances are any numbers
        assert "Raises" in found or "models." in PUBLIC[value] or "testing." in PUBLIC[value]
