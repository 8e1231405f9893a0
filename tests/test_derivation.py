"""docs/derivation.md is run and its sums are done: page and code cannot drift apart."""

import ast
import doctest
import importlib
import inspect
import math
import operator
import re
from pathlib import Path

import numpy as np
import pytest

from fastconv import reference

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "derivation.md").read_text(encoding="utf-8")
SECTIONS = re.findall(r"^#{2,3} (.+)$", PAGE, re.MULTILINE)

# ------------------------------------------------------------- the page's sessions


class Numbers(doctest.OutputChecker):
    """Compare the numbers of an output as numbers, and all else but white space as text."""

    number = re.compile(r"-?\d+\.?\d*(?:e-?\d+)?")

    def check_output(self, want, got, optionflags):
        def text(s):
            return "".join(self.number.sub("#", s).split())

        def values(s):
            return [float(n) for n in self.number.findall(s)]

        return text(want) == text(got) and np.allclose(values(want), values(got), 0, 1e-9)


def run(page):
    """Run a page's python blocks as one session: (its names, what went wrong)."""
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    test = doctest.DocTestParser().get_doctest("\n".join(blocks), {}, "derivation.md", None, 0)
    failures = []
    doctest.DocTestRunner(checker=Numbers(), verbose=False).run(
        test, out=failures.append, clear_globs=False
    )
    return test.globs, "".join(failures)


# ------------------------------------------------------------------ the page's sums

OPERATORS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.USub: operator.neg,
}


def evaluate(node):
    """The value of an arithmetic expression; ValueError if it is something else."""
    match node:
        case ast.Expression(body):
            return evaluate(body)
        case ast.Constant(int() | float() as value):
            return value
        case ast.UnaryOp(op, operand) if type(op) in OPERATORS:
            return OPERATORS[type(op)](evaluate(operand))
        case ast.BinOp(left, op, right) if type(op) in OPERATORS:
            return OPERATORS[type(op)](evaluate(left), evaluate(right))
        case ast.Call(ast.Name("ln"), [argument]):
            return math.log(evaluate(argument))
    raise ValueError(ast.dump(node))


def arithmetic(tex):
    """The value of a TeX expression of plain numbers, or None."""
    previous = None
    while tex != previous:  # innermost fractions first
        previous, tex = tex, re.sub(r"\\frac\{([^{}]*)\}\{([^{}]*)\}", r"((\1)/(\2))", tex)
    tex = re.sub(r"\\ln (\d+)", r"ln(\1)", tex).replace(r"\cdot", "*").strip()
    try:
        return evaluate(ast.parse(tex, mode="eval"))
    except (SyntaxError, ValueError):
        return None


SYMBOL = re.compile(r"(\\bar )?([A-Za-z])(?:_\{([\d,]+)\})?")


def symbol(tex, names):
    """The value of X, \\bar X or X_{i,j}: the session's X, grad_X or an element; else None."""
    match = SYMBOL.fullmatch(tex.strip())
    if match is None:
        return None
    bar, letter, index = match.groups()
    value = names.get(("grad_" if bar else "") + letter)
    if not isinstance(value, (np.ndarray, np.floating)):
        return None
    value = np.squeeze(value)
    if index is not None:
        return value[tuple(int(i) for i in index.split(","))]
    return value if value.ndim == 0 else None


def maths(page):
    """The page's formulas: inline ones and displays."""
    text = re.sub(r"^```python\n.*?^```", "", page, flags=re.DOTALL | re.MULTILINE)
    displays = re.findall(r"^```math\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    text = re.sub(r"^```math\n.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    return re.findall(r"\$([^$]+)\$", text), displays


def equations(page, names):
    """(formula, the values it says are equal, how nearly) for each that has two or more."""
    inline, displays = maths(page)
    for display in displays:
        inline += display.split(r"\qquad")
    for formula in inline:
        sides = re.split(r"=|\\approx", formula)
        found = [arithmetic(side) for side in sides]
        found = [symbol(s, names) if f is None else f for s, f in zip(sides, found, strict=True)]
        values = [float(f) for f in found if f is not None]
        if len(values) > 1:
            decimals = len(sides[-1].strip().partition(".")[2])
            yield formula, values, 0.5 * 10**-decimals if r"\approx" in formula else 1e-9


MATRIX = re.compile(r"(\\bar )?([A-Za-z]) = \\begin\{bmatrix\}(.*?)\\end\{bmatrix\}")


def matrices(page):
    """(name in the session, array) of each matrix displayed."""
    for bar, letter, body in MATRIX.findall(page):
        rows = [[float(n) for n in row.split("&")] for row in body.split(r"\\")]
        yield ("grad_" if bar else "") + letter, np.squeeze(np.array(rows))


def faults(page):
    """All that is wrong with a page's numbers, as text."""
    names, wrong = run(page)
    found = [wrong] if wrong else []
    for formula, values, tolerance in equations(page, names):
        if max(values) - min(values) > tolerance:
            found.append(f"${formula}$: {values}")
    for name, matrix in matrices(page):
        if name not in names or not np.array_equal(np.squeeze(names[name]), matrix):
            found.append(f"matrix {name}: {matrix}")
    return found


# --------------------------------------------------------------------------- tests


def test_every_computed_value_on_the_page_is_right():
    assert faults(PAGE) == []


def test_page_has_values_to_check():
    names, _ = run(PAGE)
    assert len(list(equations(PAGE, names))) > 40
    assert {"X", "K", "W", "grad_K", "grad_X", "grad_P", "grad_Z"} <= dict(matrices(PAGE)).keys()


def test_tape_as_drawn_gives_the_gradients_of_the_page():
    rows = re.findall(r"^ +\d │ (\w = [^│]+)│([^│]*)│([^│]+)│$", PAGE, re.MULTILINE)
    assert len(rows) == 3
    session, _ = run(PAGE)
    names = {name: session[name] for name in "rs"}
    for call, _, _ in rows:
        exec(call.replace("·", "*"), names)
    assert all(names[name] == session[name] for name in "thE")
    names |= {f"grad_{name}": 0 for name in "rsth"} | {"grad_E": 1}
    for _, kept, back in reversed(rows):
        steps = re.split(r" {2,}", back.strip())
        needed = {letter for step in steps for letter in re.findall(r"\b[a-z]\b", step)}
        assert set(re.findall(r"\w", kept)) == needed
        for step in steps:
            exec(step.replace("·", "*"), names)
    assert [names["grad_r"], names["grad_s"]] == [session["grad_r"], session["grad_s"]]


# what each of the page's forms of number looks like, to be made wrong in turn
PLACES = {
    "an input": r"^>>> [XKbWc] = .*$",
    "an output": r"^(?:array|  +)\(?\[.*$|^[\d.]+$",
    "a matrix": r"\\begin\{bmatrix\}.*?\\end\{bmatrix\}",
    "a result": r"(?:(?<=[\d}] )|(?<=\d\) ))= -?[\d.]+(?=\$)",
    "a term": r"\$[^$]*\\cdot[^$]*= -?[\d.]+\$",
}


# a number, but for indices and for factors of 0, which change nothing
NUMBER = r"(?<![_{,\d.])(?<!0 \\cdot )\d++(?:\.\d++)?+(?![\d.,}_]*\})(?! \\cdot 0)"


@pytest.mark.parametrize("place", PLACES)
def test_changed_value_is_detected(place):
    found = list(re.finditer(PLACES[place], PAGE, re.MULTILINE))
    assert len(found) >= 5
    numbers = [
        (match.start() + number.start(), number.group())
        for match in found
        for number in re.finditer(NUMBER, match.group())
    ]
    for at, number in numbers[:: max(1, len(numbers) // 20)]:
        changed = str(float(number) + 1.5)
        page = PAGE[:at] + changed + PAGE[at + len(number) :]
        assert faults(page), f"{number} changed to {changed} in: {PAGE[at - 40 : at + 20]!r}"


PREFIXES = {
    "F": "fastconv.functional",
    "reference": "fastconv.reference",
    "nn": "fastconv.nn",
    "optim": "fastconv.optim",
    "fastconv": "fastconv",
}


def test_every_name_on_the_page_exists():
    named = set(re.findall(r"`([A-Za-z_]+(?:\.[A-Za-z_0-9]+)+)`", PAGE))
    assert len(named) > 40
    for name in named:
        head, *rest = name.split(".")
        target = importlib.import_module(PREFIXES[head])
        for part in rest:
            if inspect.ismodule(target) and not hasattr(target, part):
                target = importlib.import_module(f"{target.__name__}.{part}")
            else:
                target = getattr(target, part)


def test_every_differentiable_function_is_on_the_page():
    for name, f in inspect.getmembers(reference, inspect.isfunction):
        if f.__module__.startswith(reference.__name__) and not name.startswith("_"):
            head = "reference" if "naive" in name else "F"
            named = f"`{head}.{name}`" in PAGE or f"{head}.{name}(" in PAGE
            assert named or name == "conv2d_naive", name


def test_links_lead_to_sections():
    anchors = {re.sub(r"[^\w\- ]", "", s).lower().replace(" ", "-") for s in SECTIONS}
    assert set(re.findall(r"\]\(#([^)]+)\)", PAGE)) <= anchors


def test_sections_that_the_code_refers_to_exist():
    references = [
        r"derivation\.md,\s+\"([^\"]+)\"",
        r"Section\s+\"([^\"]+)\"\s+of\s+docs/derivation\.md",
    ]
    found = set()
    for path in [*ROOT.glob("src/**/*.py"), *ROOT.glob("src/**/*.pyx")]:
        text = path.read_text(encoding="utf-8")
        for pattern in references:
            found |= {" ".join(title.split()) for title in re.findall(pattern, text)}
    assert found
    assert found <= set(SECTIONS)
