"""Type stubs of the compiled modules that Python imports, read off their Cython sources.

What a .pyx file defines for Python is in its ``def`` lines: parameters keep their names, order and
defaults, and the types that Cython gives them; ``# -> type`` at the end of a ``def`` line says what
is returned where that is not None.
"""

import re

from codegen.files import PACKAGE

MODULES = (
    "_buffers",
    "_geometry",
    "_native",
    "_ops",
    "_tape",
    "_drivers/memory",
    "_drivers/runtime",
)

TYPES = {
    "bint": "bool",
    "double": "float",
    "int": "int",
    "dict": "dict[Any, Any]",
    "frozenset": "frozenset[Any]",
    "int64_t": "int",
    "list": "list[Any]",
    "Py_ssize_t": "int",
    "str": "str",
    "tuple": "tuple[Any, ...]",
}

#: what a stub may need; those that it does not name are left out
IMPORTS = {
    "ContextVar": "from contextvars import ContextVar",
    "Any": "from typing import Any",
    "Self": "from typing import Self",
    "final": "from typing import final",
    "NDArray": "from numpy.typing import NDArray",
    "Convolution": "from fastconv._geometry import Convolution",
    "Pooling": "from fastconv._geometry import Pooling",
}


def parameter(text):
    """``name: type = default`` from what Cython writes."""
    declared, _, default = (part.strip() for part in text.partition("="))
    if declared in ("*", "self", "cls"):
        return declared
    if declared.startswith("*"):
        return f"{declared}: Any"
    declared = declared.removesuffix(" not None")
    kind, _, name = declared.rpartition(" ")
    kind = TYPES.get(kind, kind) or "Any"
    if default == "None" and kind != "Any":
        kind += " | None"
    return f"{name}: {kind} = {default}" if default else f"{name}: {kind}"


def function(match, indent=""):
    """A function's stub from its ``def`` lines."""
    name, parameters = match["name"], match["parameters"]
    returned = match["returned"] or TYPES.get(match["kind"], match["kind"]) or "None"
    listed = [parameter(p) for p in re.sub(r"\s+", " ", parameters).split(", ") if p.strip()]
    if name == "__cinit__":
        name, listed[0], returned = "__new__", "cls", "Self"
    return f"{indent}def {name}({', '.join(listed)}) -> {returned}: ...\n"


DEF = re.compile(
    r"^(?P<indent> *)(?:def|cpdef(?: (?P<kind>\w+))?) (?P<name>\w+)"
    r"\((?P<parameters>(?:[^()]|\(\))*)\):"
    r"(?:  # -> (?P<returned>.+))?$",
    re.M,
)

FIELD = re.compile(r"^    cdef (readonly|public) (\w+) (\w+(?:, \w+)*)", re.M)


def field(access, held, name):
    """An attribute's stub; Cython's names of types that are no C types are those of classes."""
    kind = TYPES.get(held, held if held[0].isupper() else "Any")
    if access == "readonly":
        return f"    @property\n    def {name}(self) -> {kind}: ...\n"
    return f"    {name}: {kind if held in TYPES else 'Any'}\n"


def stub(source, declared):
    """The text of a stub for a .pyx file, and for what its .pxd file says of each class."""
    body = ""
    # of a class's special methods; the others say nothing new
    shown = {"__init__", "__cinit__", "__call__"}
    for block in re.split(r"^(?=\S)", source, flags=re.M):
        kind = re.match(r"cdef class (\w+)((?:\(\w+\))?)", block)
        if kind:
            final = "@final\n" if body.endswith("@cython.final\n") else ""
            body = body.removesuffix("@cython.final\n")
            members = [
                field(access, held, name)
                for access, held, names in FIELD.findall(declared.get(kind[1], "") + block)
                for name in names.split(", ")
            ]
            methods = [
                function(m, "    ")
                for m in DEF.finditer(block)
                if m["name"] in shown or not m["name"].startswith("_")
            ]
            if "cdef dict __dict__" in block:
                members.append("    def __getattr__(self, name: str) -> Any: ...\n")
            if methods or members:  # else it is of no use to Python
                body += f"\n{final}class {kind[1]}{kind[2]}:\n{''.join([*methods, *members])}\n"
        elif match := DEF.match(block):
            if not match["name"].startswith("_"):
                body += function(match)
        elif block.startswith("@cython.final"):
            body += "@cython.final\n"
        elif block.startswith("modules = "):
            body += "modules: frozenset[str]\n"
        elif names := re.match(r"(\w+) = ContextVar\(", block):
            body += f"{names[1]}: ContextVar[bool]\n"
        elif names := re.match(r"((?:[A-Z_]+(?:, )?)+) = FC_", block):
            body += "".join(f"{name}: int\n" for name in names[1].split(", "))
    return body


def text(module):
    """The stub of a module of the package."""
    source = PACKAGE / module
    declarations = source.with_suffix(".pxd")
    fields = dict(
        re.findall(r"^cdef class (\w+):\n((?: .*\n|\n)+)", declarations.read_text("utf-8"), re.M)
        if declarations.exists()
        else ()
    )
    body = stub(source.with_suffix(".pyx").read_text("utf-8"), fields)
    here = "fastconv." + module.replace("/", ".")
    needed = sorted(
        line
        for name, line in IMPORTS.items()
        if re.search(rf"\b{name}\b", body) and not line.startswith(f"from {here} ")
    )
    head = f"# Generated by codegen/stubs.py from {source.name}.pyx.\n"
    return head + "".join(f"{line}\n" for line in needed) + "\n" + body.strip() + "\n"


def texts():
    """{path below the package: text} of every stub."""
    return {f"{module}.pyi": text(module) for module in MODULES}
