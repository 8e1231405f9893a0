"""What is shipped, and which way its imports run."""

import ast
import gzip
import inspect
import re
import subprocess
import sys
import tomllib
import zlib
from graphlib import TopologicalSorter
from importlib import import_module, metadata, resources
from pathlib import Path

import pytest

import fastconv
import fastconv.functional

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "fastconv"
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
EXTRAS = ("tqdm", "matplotlib", "PIL", "safetensors")

# ---------------------------------------------------------------- the installed distribution


@pytest.fixture(scope="module")
def distribution():
    try:
        found = metadata.distribution("fastconv")
    except metadata.PackageNotFoundError:
        pytest.skip("fastconv is not installed: it runs from its sources")
    if Path(found.locate_file("fastconv")) != Path(fastconv.__file__).parent:
        pytest.skip("the fastconv that runs is not the one that is installed")
    return found


def test_version_is_the_same_everywhere(distribution):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert fastconv.__version__ == project["version"] == distribution.version
    assert f"\n## [{fastconv.__version__}]" in changes


def test_numpy_is_the_only_dependency(distribution):
    core = [r for r in distribution.requires if "extra ==" not in r]
    assert [re.match(r"\w+", r)[0] for r in core] == ["numpy"]


def test_licences_are_shipped(distribution):
    assert distribution.metadata["License-Expression"] == "MIT"
    named = distribution.metadata.get_all("License-File")
    assert len(named) == 2
    shipped = {str(f): f for f in distribution.files if "/licenses/" in str(f)}
    texts = [
        next(f for path, f in shipped.items() if path.endswith(name)).read_text() for name in named
    ]
    assert "Permission is hereby granted" in texts[0]
    assert "Creative Commons Attribution 4.0" in texts[1]


def test_only_expected_file_types_are_shipped(distribution):
    shipped = [f for f in distribution.files if f.parts[0] == "fastconv"]
    shipped = [f for f in shipped if f.suffix != ".pyc"]
    allowed = {".py", ".pyi", ".pxd", ".so", ".pyd", ".gz", ".txt"}
    others = sorted(f.as_posix() for f in shipped if f.suffix not in allowed)
    assert others == ["fastconv/include/fastconv.h", "fastconv/py.typed"]
    declarations = {f.relative_to("fastconv").as_posix() for f in shipped if f.suffix == ".pxd"}
    assert declarations == cimported_by_users()


def test_wheel_is_smaller_than_1750_kilobytes(distribution):
    """Beside the OpenMP library that a repaired wheel brings along: fastconv.libs, .dylibs."""
    files = [f for f in distribution.files if f.suffix != ".pyc"]
    ours = [f for f in files if f.parts[0] != "fastconv.libs" and ".dylibs" not in f.parts]
    assert sum(len(zlib.compress(f.read_binary())) for f in ours) < 1_750_000


def test_pinned_actions_are_named_by_hash_and_version():
    if not WORKFLOWS:
        pytest.skip("the workflows are not here")
    used = re.findall(r"uses: (.+)", "\n".join(p.read_text(encoding="utf-8") for p in WORKFLOWS))
    assert len(used) > 5
    assert [u for u in used if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d[\d.]*", u)] == []


@pytest.mark.peer("cibuildwheel")
@pytest.mark.parametrize(
    ("platform", "machine", "tags"),
    [
        ("linux", "x86_64", {"manylinux_x86_64", "musllinux_x86_64"}),
        ("linux", "aarch64", {"manylinux_aarch64", "musllinux_aarch64"}),
        ("macos", "arm64", {"macosx_arm64"}),
        ("macos", "x86_64", {"macosx_x86_64"}),
        ("windows", "AMD64", {"win_amd64"}),
    ],
)
def test_wheels_are_built_for_every_platform_and_python(platform, machine, tags):
    command = [sys.executable, "-m", "cibuildwheel", "--print-build-identifiers", str(ROOT)]
    command += ["--platform", platform, "--archs", machine]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    built = {tuple(line.split("-", 1)) for line in done.stdout.split()}
    assert {tag for _, tag in built} == tags
    for tag in tags:
        pythons = {python for python, at in built if at == tag}
        assert {"cp311", "cp312", "cp313", "cp314", "cp314t"} <= pythons
        assert all(python.startswith("cp3") for python in pythons)


def cimported_by_users():
    """The files that `from fastconv cimport ...` reads: __init__.pxd and what it leads to."""
    found, files = set(), ["__init__.pxd"]
    while files:
        name = files.pop()
        if name not in found:
            found.add(name)
            text = (SOURCE / name).read_text(encoding="utf-8")
            for module in re.findall(r"^from fastconv\.([\w.]+) cimport", text, re.M):
                *folders, last = module.split(".")
                files.append("/".join([*folders, f"{last}.pxd"]))
                files += [
                    "/".join([*folders[: i + 1], "__init__.pxd"]) for i in range(len(folders))
                ]
    return found


def test_types_and_declarations_are_shipped():
    package = Path(fastconv.__file__).parent
    assert (package / "py.typed").is_file()
    stubs = {p.relative_to(SOURCE).as_posix() for p in SOURCE.rglob("*.pyi")}
    declarations = cimported_by_users()
    assert {"_capi.pxd", "_drivers/geometry.pxd"} < declarations
    assert "_ops.pyi" in stubs
    assert [p for p in sorted(stubs | declarations) if not (package / p).is_file()] == []
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = project["tool"]["setuptools"]["package-data"]["fastconv"]
    named = {p.relative_to(SOURCE).as_posix() for glob in patterns for p in SOURCE.glob(glob)}
    assert {p for p in named if p.endswith((".pxd", ".pyi"))} == stubs | declarations


def test_data_are_shipped():
    folder = resources.files("fastconv.data")
    for name in ("optdigits-images-idx3-ubyte.gz", "optdigits-labels-idx1-ubyte.gz"):
        assert gzip.decompress((folder / name).read_bytes())[:2] == b"\0\0"  # IDX
    assert "UCI" in (folder / "optdigits-LICENSE.txt").read_text(encoding="utf-8")


# ---------------------------------------------------------------- stubs

COMPILED = ["fastconv._ops", "fastconv._drivers.memory", "fastconv._drivers.runtime"]


def stub(module):
    package, _, name = module.rpartition(".")
    text = (resources.files(package) / f"{name}.pyi").read_text(encoding="utf-8")
    return {n.name: n for n in ast.parse(text).body if isinstance(n, ast.FunctionDef)}


@pytest.mark.parametrize("module", COMPILED)
def test_stubs_name_the_parameters_of_every_function(module):
    """stubtest checks the rest; it cannot check functions of fused types, whose defaults Cython
    reports in the wrong place."""
    compiled = import_module(module)
    found = {}
    for name, value in vars(compiled).items():
        if "cython_function" in type(value).__name__ and not name.startswith("_"):
            parameters = inspect.signature(value).parameters.values()
            found[name] = [(p.name, p.kind is p.KEYWORD_ONLY) for p in parameters]
    stubbed = {
        name: [(a.arg, False) for a in node.args.args]
        + [(a.arg, True) for a in node.args.kwonlyargs]
        for name, node in stub(module).items()
    }
    assert stubbed == found


# ---------------------------------------------------------------- imports

CHAIN = (
    "cli", "training", "nn", "autograd", "functional", "_tape", "_ops", "_capi", "_buffers",
    "_geometry", "_errors", "_drivers",
)  # fmt: skip
ASIDE = {"optim", "init", "data", "io"}
#: the top-level modules that each may import from, beside itself; see docs/architecture.md
MAY_IMPORT = {
    **{top: set(CHAIN[i + 1 :]) for i, top in enumerate(CHAIN)},
    **dict.fromkeys(ASIDE, ASIDE),
    "_arguments": set(),
    "runtime": {"_drivers", "_cgroup"},
    "_cgroup": set(),
    "reference": set(),
    "testing": {"autograd"},
    "__init__": {"runtime", "autograd"},
    "__main__": {"cli"},
}
for top in (*CHAIN, *ASIDE):
    MAY_IMPORT[top] |= {"_arguments"}
MAY_IMPORT["nn"] |= {"init"}
MAY_IMPORT["optim"] |= {"_ops", "_tape"}
MAY_IMPORT["_geometry_options"] = {"_arguments"}
MAY_IMPORT |= {"_import": {"_native"}, "_native": set()}
MAY_IMPORT["runtime"] |= {"_import"}
for top in ("_ops", "_geometry", "functional", "nn"):
    MAY_IMPORT[top] |= {"_geometry_options"}
MAY_IMPORT["training"] |= ASIDE
MAY_IMPORT["cli"] |= {*ASIDE, "__init__"}


def top_of(path):
    return path.relative_to(SOURCE).parts[0].partition(".")[0]


def module_of(path):
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(tree):
    """Full names of what a module imports; a name taken from a package counts as a module of it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def at_import(tree):
    """The part of a module that runs whenever it is imported."""
    body = [
        node
        for node in tree.body
        if not isinstance(node, ast.FunctionDef | ast.ClassDef)
        and not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    ]
    return ast.Module(body, [])


def top_imported(name):
    """The top-level module of fastconv that a full name lies in: __init__, if it names none."""
    part = name.removeprefix("fastconv").lstrip(".").partition(".")[0]
    return part if part in MAY_IMPORT else "__init__"


PYTHON = sorted(SOURCE.rglob("*.py"))
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in PYTHON}
CYTHON = sorted(p for p in SOURCE.rglob("*.p[xy][xd]") if p.suffix != ".py")


def test_every_module_has_import_rules():
    assert {top_of(p) for p in [*PYTHON, *CYTHON]} == set(MAY_IMPORT)


@pytest.mark.parametrize("path", PYTHON, ids=lambda p: p.relative_to(SOURCE).as_posix())
def test_imports_run_one_way(path):
    top = top_of(path)
    ours = {top_imported(n) for n in imports(TREES[path]) if n.split(".")[0] == "fastconv"}
    allowed = MAY_IMPORT[top] | {top}
    if top == "runtime":
        allowed |= {"__init__"}  # the version, asked for when it is shown
    assert ours <= allowed


@pytest.mark.parametrize("path", CYTHON, ids=lambda p: p.relative_to(SOURCE).as_posix())
def test_cimports_run_one_way(path):
    text = path.read_text(encoding="utf-8")
    found = re.findall(
        r"^ *(?:from +fastconv\.(\w+)\S* +c?import|cimport +fastconv\.(\w+))", text, re.M
    )
    top = top_of(path)
    allowed = {"_capi"} if top == "__init__" else MAY_IMPORT[top] | {top}
    assert {a or b for a, b in found} <= allowed
    if "cimport parallel" in text or "prange(" in text:
        assert path.name == "runtime.pyx"


@pytest.mark.parametrize("path", sorted((SOURCE / "_kernels").iterdir()), ids=lambda p: p.name)
def test_kernels_include_neither_python_nor_openmp(path):
    text = path.read_text(encoding="utf-8")
    assert not re.search(r'#include *[<"](Python|omp|numpy|pthread)|#pragma omp', text)


def test_there_are_no_circular_imports():
    graph = {}
    modules = {module_of(path): path for path in PYTHON}
    for name, path in modules.items():
        wanted = set()
        for imported in imports(at_import(TREES[path])):
            while imported and imported not in modules:
                imported = imported.rpartition(".")[0]
            wanted.add(imported)
        graph[name] = wanted - {name, "", "fastconv"}
    order = list(TopologicalSorter(graph).static_order())  # raises CycleError
    assert order.index("fastconv.nn.conv") < order.index("fastconv.training.loop")


def test_optional_packages_are_imported_where_they_are_used():
    allowed = set(sys.stdlib_module_names) | {"numpy", "fastconv"}
    for path, tree in TREES.items():
        roots = {name.split(".")[0] for name in imports(at_import(tree))}
        assert roots <= allowed, path.name
    own = [tree for path, tree in TREES.items() if top_of(path) == "reference"]
    roots = {name.split(".")[0] for tree in own for name in imports(tree)}
    assert own
    assert roots - set(sys.stdlib_module_names) == {"numpy", "fastconv"}


def test_import_needs_numpy_alone():
    code = """
import sys, numpy, unittest
before = set(sys.modules)
import fastconv, fastconv.cli, fastconv.reference, fastconv.testing
import fastconv.autograd, fastconv.nn, fastconv.training, fastconv.optim, fastconv.data, fastconv.io
roots = {name.partition(".")[0] for name in set(sys.modules) - before}
print(*sorted(roots - sys.stdlib_module_names - {"fastconv", "numpy", "cython_runtime"}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert [name for name in done.stdout.split() if not name.startswith("_cython_")] == []


def defined_in(package):
    """The functions, layers and losses of a package's modules, by name, but for private ones."""
    for path in sorted((SOURCE / package).glob("[!_]*.py")):
        module = import_module(f"fastconv.{package}.{path.stem}")
        for name, value in vars(module).items():
            ours = getattr(value, "__module__", None) == module.__name__ and name[0] != "_"
            if ours and (inspect.isroutine(value) or inspect.isclass(value)):
                yield path.stem, name, value


def test_every_op_is_public():
    ops = [name for _, name, value in defined_in("functional") if inspect.isroutine(value)]
    assert sorted(ops) == sorted(fastconv.functional.__all__)


def test_every_layer_and_loss_is_public():
    from fastconv import nn

    found = {"models"}
    for stem, name, value in defined_in("nn"):
        if stem == "models":
            assert name in nn.models.__all__
        elif inspect.isroutine(value) or issubclass(value, nn.Module):
            found.add(name)
    others = {"IncompatibleKeys", "Parameter", "is_grad_enabled", "no_grad"}
    assert found | others == set(nn.__all__)
    assert len(nn.__all__) == len(set(nn.__all__))


@pytest.mark.parametrize(
    "module", ["", ".autograd", ".functional", ".nn", ".optim", ".init", ".data", ".io"]
)
def test_public_names_exist(module):
    imported = import_module(f"fastconv{module}")
    assert [name for name in imported.__all__ if not hasattr(imported, name)] == []


# ---------------------------------------------------------------- tests


def test_test_modules_import_no_other_test_module():
    """What they share is in tests/support, so that each can be read, run and split alone."""
    paths = sorted((ROOT / "tests").rglob("*.py"))
    assert len(paths) > 40
    for path in paths:
        names = imports(ast.parse(path.read_text(encoding="utf-8")))
        others = sorted(n for n in names if n.startswith(("test_", "conftest.")))
        assert others == [], path.name
