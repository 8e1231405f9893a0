"""What an interface declares, as Cython and as C spell it, in lines of at most 100 columns."""

import re
import textwrap
from collections.abc import Sequence
from typing import NamedTuple

WIDTH = 100


class Constant(NamedTuple):
    name: str
    value: int
    note: str = ""


class Enum(NamedTuple):
    name: str
    about: str
    constants: Sequence[Constant]

    def cython(self):
        lines = [(f"{c.name} = {c.value}", c.note) for c in self.constants]
        return comment(self.about) + f"cdef enum {self.name}:\n" + noted(lines, "  # ")

    def c(self):
        lines = [(f"{c_constant(c.name)} = {c.value},", c.note) for c in self.constants]
        lines[-1] = lines[-1][0].rstrip(","), lines[-1][1]
        about = f"{self.name}: {self.about[0].lower()}{self.about[1:].rstrip('.')}"
        return c_comment(about) + "enum {\n" + noted(lines, " /* ", " */") + "};\n"


class Field(NamedTuple):
    """Some fields of one type: ``names`` separates them by commas."""

    type: str
    names: str
    note: str = ""


class Struct(NamedTuple):
    """A struct; without fields, one that only the library sees into."""

    name: str
    about: str
    fields: Sequence[Field] = ()

    def cython(self):
        # Cython knows empty structs only from headers
        fields = self.fields or [Field("void *", "_private")]
        lines = [(declared(f.type, f.names), f.note) for f in fields]
        return comment(self.about) + f"ctypedef struct {self.name}:\n" + noted(lines, "  # ")

    def c(self):
        name = c_type(self.name)
        if not self.fields:
            return c_comment(self.about) + f"typedef struct {name} {name};\n"
        lines = [(f"{declared(c_type(f.type), f.names)};", f.note) for f in self.fields]
        body = noted(lines, " /* ", " */")
        return c_comment(self.about) + f"typedef struct {{\n{body}}} {name};\n"


class Function(NamedTuple):
    """A function and, where one line says it all, the call that it is made of."""

    result: str
    name: str
    parameters: Sequence[str]
    callee: str | None = None
    arguments: Sequence[str] = ()

    def cython(self, end=""):
        head = f"cdef {declared(self.result, self.name)}"
        return listed(head, self.parameters, f" noexcept nogil{end}")

    def cython_definition(self):
        return self.cython(":") + listed(f"    return {self.callee}", self.arguments)

    def c_pointer(self):
        """A member of a struct that points to such a function."""
        head = f"    {declared(c_type(self.result), f'(*{self.name})')}"
        return listed(head, [c_type(p) for p in self.parameters], ";")


class Section(NamedTuple):
    about: str
    functions: Sequence[Function]


_FUNCTION = re.compile(
    r"(?P<result>(?:const )?\w+ \*?)(?P<name>[\w{}]+)\((?P<parameters>[^()]*)\)"
    r"(?: -> (?P<callee>\w+)\((?P<arguments>[^()]*)\))?"
)


def sections(text, variants):
    """The functions that a text declares, a `Section` for each of its paragraphs.

    A paragraph starts with lines of comment. A function whose name holds a word in braces stands
    for several: one for each of the dicts in `variants`, which say what to put for such words.
    """
    found = []
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        lines = [line.strip() for line in paragraph.splitlines()]
        about = " ".join(line.removeprefix("# ") for line in lines if line.startswith("#"))
        code = " ".join(line for line in lines if not line.startswith("#"))
        if rest := _FUNCTION.sub("", code).strip():
            raise ValueError(f"no declaration of a function: {rest}")
        functions = []
        for match in _FUNCTION.finditer(code):
            for words in variants if "{" in match["name"] else [{}]:
                parts = {k: v.format(**words) for k, v in match.groupdict().items() if v}
                for key in {"parameters", "arguments"} & set(parts):
                    parts[key] = parts[key].split(", ")
                functions.append(Function(**parts | {"result": parts["result"].strip()}))
        found.append(Section(about, functions))
    return found


# ---------------------------------------------------------------- names and types


def declared(kind, name):
    return f"{kind}{name}" if kind.endswith("*") else f"{kind} {name}"


def c_constant(name):
    return f"FASTCONV_{name}"


def c_type(text):
    """A type or a parameter in C, where ConvGeometry is fastconv_conv_geometry."""

    def renamed(match):
        return "fastconv_" + re.sub(r"(?<=[a-z])(?=[A-Z])", "_", match[0]).lower()

    return re.sub(r"\b(?:[A-Z][a-z]+)+\b", renamed, text)


# ---------------------------------------------------------------- layout


def wrapped(text, width):
    """Lines of at most `width`, which break nothing between backticks."""
    whole = re.sub(r"`.*?`", lambda code: code[0].replace(" ", "\0"), text)
    return [line.replace("\0", " ") for line in textwrap.wrap(whole, width)]


def comment(text):
    """Lines of a comment in Cython."""
    return "".join(f"# {line}\n" for line in wrapped(text, WIDTH - len("# ")))


def c_comment(text, indent=""):
    line = f"{indent}/* {text} */"
    if len(line) <= WIDTH:
        return line + "\n"
    lines = wrapped(text, WIDTH - len(indent) - len(" *  */"))
    return f"\n{indent} * ".join([f"{indent}/* {lines[0]}", *lines[1:]]) + " */\n"


def noted(lines, opening, closing=""):
    """The members of a block, with their notes below each other."""
    column = max((len(code) for code, note in lines if note), default=0)
    return "".join(
        f"    {code:{column}}{opening}{note}{closing}\n" if note else f"    {code}\n"
        for code, note in lines
    )


def listed(head, items, tail=""):
    """`head(items)tail`, in lines that continue below the first item."""
    lines = [f"{head}("]
    indent = " " * len(lines[0])
    for i, item in enumerate(items):
        item += ")" + tail if i == len(items) - 1 else ","
        if lines[-1].endswith("("):
            lines[-1] += item
        elif len(f"{lines[-1]} {item}") <= WIDTH:
            lines[-1] += f" {item}"
        else:
            lines.append(indent + item)
    return "\n".join(lines) + "\n"


def filled(words, indent, separator=" "):
    """Words in lines that each begin with `indent`; `separator` is put after all but the last."""
    text = separator.join(words)
    return textwrap.fill(text, WIDTH, initial_indent=indent, subsequent_indent=indent)


def quoted(text, head):
    """A string after `head`, in as many pieces as it takes."""
    lines = textwrap.wrap(text, WIDTH - len(head) - len('(" ")'))
    if len(lines) == 1:
        return f'{head}"{text}"'
    pieces = [f'"{line} "' for line in lines[:-1]] + [f'"{lines[-1]}"']
    return f"{head}(" + ("\n" + " " * (len(head) + 1)).join(pieces) + ")"
