"""Declares _kernels/kernels.h to Cython, whose own parser does not read C.

Only as much of C is understood as kernels.h is written in: enums, structs, typedefs, functions, and
lists that are included once and expanded by a macro of one line. Anything else is an error.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from codegen.files import KERNELS

HEADER = KERNELS / "kernels.h"

PREAMBLE = """\
# Made by codegen/kernels.py from _kernels/kernels.h and the lists it includes: edit those.
# They say what every field means; pointers are to float or double as the table says, and strides
# are in bytes.
from libc.stdint cimport int64_t

cdef extern from "kernels.h" nogil:
"""

#: types that Cython knows by another name
NAMES = {"ptrdiff_t": "Py_ssize_t"}

WIDTH = 100


def texts() -> dict[str, str]:
    """The text of kernels.pxd, by its path in the package."""
    return {"_drivers/kernels.pxd": PREAMBLE + declarations(HEADER) + "\n"}


def declarations(header: Path) -> str:
    """What `header` declares, in Cython."""
    blocks = ["\n".join(lines) for lines in _declarations(_preprocessed(header, {}))]
    return "\n\n".join(blocks)


# ---------------------------------------------------------------- the preprocessor


def _preprocessed(path: Path, macros: dict[str, tuple[list[str], str]]) -> str:
    """The file without comments and directives, lists included where they stand."""
    code = re.sub(r"/\*.*?\*/", " ", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    code = re.sub(r"\s*\\\n\s*", " ", code)
    done = []
    for line in code.splitlines():
        if found := re.fullmatch(r'#include "(\w+\.h)"', line.strip()):
            done.append(_preprocessed(path.parent / found[1], macros))
        elif found := re.fullmatch(r"#define (\w+)\(([\w, ]*)\) (.*)", line):
            macros[found[1]] = (re.split(r",\s*", found[2]), found[3])
        elif not line.startswith("#"):
            done.append(line)
    return _expanded("\n".join(done), macros)


def _expanded(code: str, macros: dict[str, tuple[list[str], str]]) -> str:
    """`code` with the uses of `macros` replaced by their bodies."""
    for name, (parameters, body) in macros.items():  # one may use those that are defined later
        while found := re.search(rf"\b{name}\(", code):
            arguments, end = _arguments(code, found.end())
            values = dict(zip(parameters, arguments, strict=True))
            use = re.sub(r"\w+", lambda word, v=values: v.get(word[0], word[0]), body)
            code = code[: found.start()] + use + code[end:]
    return code


def _arguments(code: str, start: int) -> tuple[list[str], int]:
    """The arguments of a macro's use from behind its parenthesis on, and where the use ends."""
    arguments, depth, at = [""], 1, start
    while True:
        c = code[at]
        at += 1
        depth += (c == "(") - (c == ")")
        if depth == 0:
            return [" ".join(a.split()) for a in arguments], at
        if c == "," and depth == 1:
            arguments.append("")
        else:
            arguments[-1] += c


# ---------------------------------------------------------------- declarations

DECLARATION = re.compile(
    r"""\s*(?:
      enum\s*\{(?P<enumerators>[^}]*)\};
    | typedef\s+struct\s*\w*\s*\{(?P<fields>[^}]*)\}\s*(?P<struct>\w+);
    | typedef\s+(?P<type>[^;{}()]+?)\s*\b(?P<alias>\w+);
    | (?:static\s+inline\s+)?(?P<result>[^;{}()]+?)\b(?P<function>\w+)\((?P<parameters>[^()]*)\)
      \s*(?:;|\{[^}]*\})
    )""",
    re.VERBOSE,
)


def _declarations(code: str) -> Iterator[list[str]]:
    """The lines of each declaration."""
    at = 0
    while code[at:].strip():
        found = DECLARATION.match(code, at)
        if not found:
            raise ValueError(f"cannot read {code[at:].strip()[:80]!r}")
        at = found.end()
        if found["enumerators"]:
            names = re.findall(r"(\w+)[^,]*", found["enumerators"])
            yield ["    enum:", *(f"        {name}" for name in names)]
        elif found["struct"]:
            lines = [
                line
                for field in found["fields"].split(";")
                if field.strip()
                for line in _field(" ".join(field.split()))
            ]
            yield [f"    ctypedef struct {found['struct']}:", *lines]
        elif found["alias"]:
            yield [f"    ctypedef {NAMES.get(found['type'], found['type'])} {found['alias']}"]
        else:
            yield _function("    ", found["result"], found["function"], found["parameters"], "")


def _field(field: str) -> Iterator[str]:
    """The lines of a field, or of several of one type."""
    if found := re.fullmatch(r"(.+?)\s*\(\*(\w+)\)\s*\((.*)\)", field):
        yield from _function("        ", found[1], f"(*{found[2]})", found[3], " noexcept nogil")
        return
    found = re.fullmatch(r"((?:const )?\w+) (.*)", field)
    if not found:
        raise ValueError(f"cannot read the field {field!r}")
    plain = []
    for name in re.split(r",\s*", found[2]):
        if not re.fullmatch(r"(?:\*|const\b|\s)*\w+", name):
            raise ValueError(f"cannot read the field {field!r}")
        if "*" in name:
            yield f"        {_type(found[1])} {_pointers(name)}"
        else:
            plain.append(name)
    if plain:
        yield f"        {_type(found[1])} {', '.join(plain)}"


def _function(indent: str, result: str, name: str, parameters: str, suffix: str) -> list[str]:
    """A function or a pointer to one, its parameters broken where a line would be too long."""
    names = [] if parameters.strip() == "void" else re.split(r",\s*", " ".join(parameters.split()))
    result = _pointers(_type(" ".join(result.split())))
    head = f"{indent}{result}{'' if result.endswith('*') else ' '}{name}("
    lines = [head]
    for i, parameter in enumerate(names):
        piece = _pointers(parameter) + (", " if i + 1 < len(names) else "")
        room = WIDTH - (len(suffix) + 1 if i + 1 == len(names) else 0)
        if len(lines[-1] + piece.rstrip()) > room:
            lines[-1] = lines[-1].rstrip()
            lines.append(" " * len(head))
        lines[-1] += piece
    lines[-1] += f"){suffix}"
    return lines


def _type(name: str) -> str:
    return NAMES.get(name, name)


def _pointers(declarator: str) -> str:
    """Without the const of a pointer itself, which Cython would refuse to fill."""
    return re.sub(r"\*\s*const\b\s*", "*", declarator)
