"""Threads, instruction sets, accuracy and processes: settings do what they say, none hangs."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import isas
from support.arrays import LAYOUTS, integers
from support.child import output, run
from support.geometries import Conv, convolutions, poolings

import fastconv
import fastconv.functional as F
from fastconv import reference
from fastconv._cgroup import cpu_quota
from fastconv._drivers import runtime
from fastconv.testing import assert_within, rounding_bound

BUILD = runtime.build_info()
KNOWN, AVAILABLE = runtime.known_isas(), runtime.available_isas()


every_isa = pytest.mark.parametrize("name", AVAILABLE)

# ---------------------------------------------------------------- the number of threads


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"FASTCONV_NUM_THREADS": "3"}, "3"),
        ({"FASTCONV_NUM_THREADS": "3", "OMP_NUM_THREADS": "5"}, "3"),
        ({"OMP_NUM_THREADS": "5"}, "5"),
        ({"OMP_NUM_THREADS": "5,2"}, "5"),  # OpenMP's list of one count per level of nesting
        ({"FASTCONV_NUM_THREADS": "", "OMP_NUM_THREADS": "5"}, "5"),
    ],
)
def test_environment_sets_the_number_of_threads(variables, expected):
    code = "import fastconv; print(fastconv.get_num_threads())"
    if not BUILD["openmp"] and not variables.get("FASTCONV_NUM_THREADS"):
        expected = "1"  # what OpenMP is told is nothing to a build without it
    assert output(code, **variables) == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FASTCONV_NUM_THREADS", "many"),
        ("FASTCONV_NUM_THREADS", "0"),
        ("FASTCONV_NUM_THREADS", "99999"),
        ("FASTCONV_ISA", "mmx"),
        ("FASTCONV_ACCURACY", "exact"),
        ("FASTCONV_MEMORY_CACHE", "-1"),
        ("FASTCONV_MEMORY_CACHE", "1e9"),
        ("FASTCONV_MEMORY_CACHE", str(2**64)),
    ],
)
def test_errors_name_the_variable(name, value):
    code = """
try:
    import fastconv
except ValueError as error:
    print(error)
"""
    message = output(code, **{name: value})
    assert name in message
    assert repr(value) in message


CPUS = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
ALLOWED = max(1, int(min(len(CPUS), cpu_quota())))
#: binds its threads, and the one that loads it first, to processors where the environment says so
BINDS = pytest.mark.skipif(
    len(CPUS) < 2 or not BUILD["openmp"] or not BUILD["compiler"].startswith("gcc"),
    reason="needs GNU's OpenMP, and two CPUs",
)
COUNT = "import fastconv; print(fastconv.get_num_threads())"
ON_ONE_CPU = "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]); "


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no CPU affinity on this system")
@pytest.mark.parametrize("variables", [{}, {"OMP_PROC_BIND": "close"}, {"OMP_PLACES": "cores"}])
def test_default_number_of_threads_is_what_affinity_allows(variables):
    assert output(ON_ONE_CPU + COUNT, **variables) == "1"


BINDINGS = [
    {"OMP_PROC_BIND": "close"},
    {"OMP_PROC_BIND": "spread"},
    {"OMP_PLACES": "cores"},
    {"OMP_PLACES": "threads", "OMP_PROC_BIND": "true"},
    {"GOMP_CPU_AFFINITY": " ".join(map(str, CPUS))},
]


@BINDS
@pytest.mark.parametrize("variables", BINDINGS, ids=str)
@pytest.mark.parametrize("first", ["sys", "numpy"])
def test_binding_leaves_the_default_number_of_threads(variables, first):
    """This thread is bound to one CPU by then; the others are for other threads."""
    assert output(f"import {first}; {COUNT}", **variables) == str(ALLOWED)


@BINDS
@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="looks for libraries in /proc")
@pytest.mark.parametrize("name", ["sklearn.cluster", "torch"])
def test_binding_by_another_library_s_openmp(name):
    """Where it shares the OpenMP library, nothing changes. One of its own has bound this thread,
    and the library that is loaded after it finds but that one CPU to run its threads on."""
    if importlib.util.find_spec(name.split(".")[0]) is None:
        pytest.skip(f"{name} is not installed")
    code = f"""
import os, re
def libraries():
    return set(re.findall(r"\\S*/libgomp\\S*$", open("/proc/self/maps").read(), re.M))
import {name}
before, cpus = libraries(), len(os.sched_getaffinity(0))
import fastconv
shares = before == libraries()
print(fastconv.get_num_threads() == ({ALLOWED} if shares else min(cpus, {ALLOWED})))
"""
    assert output(code, OMP_PROC_BIND="close") == "True"


@BINDS
@pytest.mark.parametrize(
    "variables",
    [
        {"OMP_PROC_BIND": "close", "OMP_NUM_THREADS": "1"},
        {"OMP_PLACES": f"{{{CPUS[0] if CPUS else 0}}}"},
        {"GOMP_CPU_AFFINITY": str(CPUS[0] if CPUS else 0)},
    ],
    ids=str,
)
def test_binding_may_leave_one_processor(variables):
    assert output(COUNT, **variables) == "1"


@BINDS
def test_limits_hold_where_threads_are_bound():
    pytest.importorskip("threadpoolctl")
    code = """
import fastconv, threadpoolctl
with threadpoolctl.threadpool_limits(1, user_api="openmp"):
    print(fastconv.get_num_threads(), end=" ")
print(fastconv.get_num_threads())
"""
    assert output(code, OMP_PROC_BIND="close") == f"1 {ALLOWED}"


@BINDS
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for threads in /proc")
@pytest.mark.parametrize("variables", [{}, *BINDINGS], ids=str)
def test_threads_run_on_processors_of_their_own(variables):
    """Of two threads, neither is bound to where the other is alone."""
    code = """
import os, re, numpy as np, fastconv.functional as F
x = np.ones((8, 16, 64, 64), np.float32)
others = set(os.listdir("/proc/self/task")) - {str(os.getpid())}  # an emulator's
F.conv2d(x, np.ones((16, 16, 3, 3), np.float32))
for task in set(os.listdir("/proc/self/task")) - others:
    with open(f"/proc/self/task/{task}/status") as status:
        print(re.search(r"^Cpus_allowed_list:\\s*(.*)$", status.read(), re.M)[1])
"""
    allowed = output(code, FASTCONV_NUM_THREADS="2", OPENBLAS_NUM_THREADS="1", **variables)
    first, second = allowed.splitlines()
    bound = first.isdecimal() or second.isdecimal()
    assert bound == bool(variables)
    assert not bound or first != second


def test_threads_are_set_and_restored():
    before = fastconv.get_num_threads()
    with fastconv.threads(3):
        assert fastconv.get_num_threads() == 3
        with fastconv.threads(np.int64(2)):
            assert fastconv.get_num_threads() == 2
        fastconv.set_num_threads(5)
        assert fastconv.get_num_threads() == 5
    assert fastconv.get_num_threads() == before


def test_threads_are_restored_after_an_error():
    before = fastconv.get_num_threads()
    with pytest.raises(KeyError), fastconv.threads(before + 1):
        raise KeyError
    assert fastconv.get_num_threads() == before


def test_number_of_threads_applies_to_the_whole_process():
    with fastconv.threads(3):
        seen = []
        thread = threading.Thread(target=lambda: seen.append(fastconv.get_num_threads()))
        thread.start()
        thread.join()
    assert seen == [3]


@pytest.mark.parametrize(
    ("n", "error"),
    [
        *((n, ValueError) for n in (0, -1, 1025, 2**70)),
        *((n, TypeError) for n in (True, 1.5, "2", None, [1])),
    ],
)
@pytest.mark.parametrize(
    "call", [fastconv.set_num_threads, lambda n: fastconv.threads(n).__enter__()]
)
def test_invalid_numbers_of_threads_are_refused(call, n, error):
    before = fastconv.get_num_threads()
    with pytest.raises(error, match=re.escape(f"got {n!r}")):
        call(n)
    assert fastconv.get_num_threads() == before


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts threads in /proc")
@pytest.mark.skipif(not BUILD["openmp"], reason="built without OpenMP")
def test_large_calls_use_threads_and_small_ones_do_not():
    code = """
import os, numpy as np, fastconv.functional as F
def threads():
    return len(os.listdir("/proc/self/task"))
def threads_after(size):
    x = np.ones((1, 16, size, size), np.float32)
    F.conv2d(x, np.ones((16, 16, 3, 3), np.float32))
    return threads() - before
before = threads()  # an emulator has more than one
print(threads_after(4), threads_after(64))
"""
    assert output(code, FASTCONV_NUM_THREADS="3", OPENBLAS_NUM_THREADS="1") == "0 2"


# large enough that every op below is shared out among threads
LARGE = Conv((5, 20, 23, 37), (24, 10, 3, 3), stride=(1, 2), padding=1, groups=2)
DEPTHWISE = Conv((6, 40, 33, 37), (40, 1, 3, 3), padding=1, groups=40)


def passes(case, x, w, b, g):
    return [
        F.conv2d(x, w, b, *case.options),
        F.conv2d_backward_input(g, w, x.shape, *case.options),
        F.conv2d_backward_weight(g, x, w.shape, *case.options),
        F.conv2d_backward_bias(g),
    ]


def pools(x, g):
    """Max and average pooling of x, and backward; g is a gradient of 2x2 windows' shape."""
    maxima, indices = F.max_pool2d(x, 2, return_indices=True)
    return [
        maxima,
        indices,
        F.max_pool2d_backward(g, indices, x.shape),
        F.avg_pool2d(x, 3, 2, 1),
        F.avg_pool2d_backward(g, x.shape, 2),
        F.adaptive_avg_pool2d(x, (5, 7)),
    ]


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@every_isa
def test_same_bits_for_any_number_of_threads(name, dtype, layout, rng):
    def normal(rng, shape, dtype):
        return rng.standard_normal(shape).astype(dtype)

    change = LAYOUTS[layout]
    calls = []
    for case in (LARGE, DEPTHWISE):
        x, w, b, g = case.operands(rng, dtype, normal)
        calls.append((passes, case, change(x), w, b, change(g)))
    images = change(normal(rng, (3, 33, 32, 32), dtype))
    calls.append((pools, images, change(normal(rng, (3, 33, 16, 16), dtype))))
    with isas.selected(name):
        results = []
        for n in (1, 2, 3, 7):
            with fastconv.threads(n):
                results.append([a.tobytes() for f, *args in calls for a in f(*args)])
    assert all(r == results[0] for r in results[1:])


# ---------------------------------------------------------------- accuracy


@pytest.mark.parametrize(("value", "expected"), [("", "fast"), ("fast", "fast"), ("strict",) * 2])
def test_environment_sets_the_accuracy(value, expected):
    code = "import fastconv; print(fastconv.get_accuracy())"
    assert output(code, FASTCONV_ACCURACY=value) == expected


def test_accuracy_is_set_and_restored():
    before = fastconv.get_accuracy()
    with fastconv.accuracy("strict"):
        assert runtime.get_strict_accuracy() is True
        with fastconv.accuracy("fast"):
            assert fastconv.get_accuracy() == "fast"
            assert runtime.get_strict_accuracy() is False
        assert fastconv.get_accuracy() == "strict"
        fastconv.set_accuracy("fast")
        assert fastconv.get_accuracy() == "fast"
    assert fastconv.get_accuracy() == before


def test_accuracy_is_restored_after_an_error():
    before = fastconv.get_accuracy()
    other = {"fast": "strict", "strict": "fast"}[before]
    with pytest.raises(KeyError), fastconv.accuracy(other):
        raise KeyError
    assert fastconv.get_accuracy() == before


def test_accuracy_applies_to_the_whole_process():
    with fastconv.accuracy("strict"), ThreadPoolExecutor(1) as pool:
        assert pool.submit(fastconv.get_accuracy).result(timeout=60) == "strict"


@pytest.mark.parametrize("mode", ["Strict", "", b"strict", None, True, 1, ["strict"]])
@pytest.mark.parametrize(
    "call", [fastconv.set_accuracy, lambda mode: fastconv.accuracy(mode).__enter__()]
)
def test_invalid_accuracies_are_refused(call, mode):
    with fastconv.accuracy("strict"):
        with pytest.raises(ValueError, match=re.escape(f"got {mode!r}")):
            call(mode)
        assert fastconv.get_accuracy() == "strict"


# ---------------------------------------------------------------- instruction sets


def test_instruction_sets_of_this_machine():
    assert set(AVAILABLE) <= set(KNOWN)
    assert tuple(name for name in KNOWN if name in AVAILABLE) == AVAILABLE  # best first
    assert AVAILABLE[-1] == "baseline"
    for name in AVAILABLE:
        with isas.selected(name):
            assert runtime.build_info()["isa"] == name
            assert runtime.available_isas() == AVAILABLE


def test_processor_is_asked_for_what_the_system_lists():
    """An independent witness of the features that CPUID is asked for: Linux's own list."""
    cpuinfo = Path("/proc/cpuinfo")
    found = re.search(r"^flags\s*: (.*)$", cpuinfo.read_text(), re.M) if cpuinfo.exists() else None
    if not found or "avx2" not in KNOWN:
        pytest.skip("this system lists no features of x86-64")
    flags = set(found[1].split())
    v3 = {"avx2", "fma", "f16c", "bmi1", "bmi2", "abm", "movbe"}
    v4 = v3 | {f"avx512{part}" for part in ("f", "bw", "cd", "dq", "vl")}
    for name, needed in (("avx2", v3), ("avx512", v4)):
        if name in AVAILABLE:
            assert needed <= flags
        elif needed <= flags:
            pytest.skip(f"this build has no {name}")


def test_best_instruction_set_is_taken():
    best = output("import fastconv._drivers.runtime as r, fastconv; print(r.build_info()['isa'])")
    assert best == AVAILABLE[0]
    runtime.select_isa(None)
    assert runtime.build_info()["isa"] == AVAILABLE[0]
    runtime.select_isa(BUILD["isa"])


@pytest.mark.parametrize("name", KNOWN)
def test_environment_forces_the_instruction_set(name):
    code = "import fastconv; fastconv.show_config()"
    if name in AVAILABLE:
        shown = output(code, FASTCONV_ISA=name)
        assert re.search(rf"instruction set +{name}$", shown, re.MULTILINE)
    else:
        failed = run(code, FASTCONV_ISA=name)
        assert failed.returncode != 0
        assert (
            f"ValueError: FASTCONV_ISA: instruction set '{name}' is not available" in failed.stderr
        )


def test_unknown_instruction_set_is_refused():
    failed = run("import fastconv", FASTCONV_ISA="sse9")
    assert failed.returncode != 0
    assert "ValueError: FASTCONV_ISA: unknown instruction set 'sse9'" in failed.stderr
    assert f"expected one of {KNOWN}" in failed.stderr


def test_show_config_shows_the_settings_in_use(capsys):
    with fastconv.threads(3), fastconv.accuracy("strict"):
        fastconv.show_config()
    first, *rows = capsys.readouterr().out.splitlines()
    assert first == f"fastconv {fastconv.__version__}"
    shown = {row[2:18].strip(): row[19:] for row in rows}
    assert shown["numpy"] == np.__version__
    assert shown["compiler"] == BUILD["compiler"]
    assert shown["openmp"] == str(BUILD["openmp"] or "none: one thread")
    assert shown["instruction set"] == BUILD["isa"]
    assert shown["threads"] == "3"
    assert shown["accuracy"] == "strict"
    assert set(shown) == {
        "python",
        "numpy",
        "platform",
        "compiler",
        "openmp",
        "instruction set",
        "threads",
        "accuracy",
        "memory cache",
    }


@every_isa
@settings(max_examples=60)
@given(
    case=convolutions(),
    dtype=st.sampled_from([np.float32, np.float64]),
    layout=st.sampled_from(["contiguous", "channels_last"]),
    seed=st.integers(0, 99),
)
def test_convolution_is_exact_on_integers(name, case, dtype, layout, seed):
    x, w, b, g = case.operands(np.random.default_rng(seed), dtype)
    change = LAYOUTS[layout]
    with isas.selected(name):
        actual = passes(case, change(x), w, b, change(g))
    expected = [
        reference.conv2d(x, w, b, *case.options),
        reference.conv2d_backward_input(g, w, x.shape, *case.options),
        reference.conv2d_backward_weight(g, x, w.shape, *case.options),
        reference.conv2d_backward_bias(g),
    ]
    for a, e in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(a, e, strict=True)


@every_isa
@settings(max_examples=60)
@given(
    case=convolutions(),
    layout=st.sampled_from(["contiguous", "channels_last"]),
    seed=st.integers(0, 99),
)
def test_convolution_is_within_the_rounding_bound(name, case, layout, seed):
    def normal(rng, shape, dtype):
        return rng.standard_normal(shape).astype(dtype)

    x, w, b, _ = case.operands(np.random.default_rng(seed), np.float32, normal)
    with isas.selected(name):
        actual = F.conv2d(LAYOUTS[layout](x), w, b, *case.options)
    double = [a.astype(np.float64) for a in (x, w, b)]
    magnitude = reference.conv2d(*map(np.abs, double), *case.options)
    bound = rounding_bound(w[0].size + 1, magnitude)
    assert_within(actual, reference.conv2d(*double, *case.options), bound)


@every_isa
@settings(max_examples=60)
@given(
    pooling=poolings(dilated=True),
    dtype=st.sampled_from([np.float32, np.float64]),
    layout=st.sampled_from(["contiguous", "channels_last"]),
    seed=st.integers(0, 99),
)
def test_max_pooling_agrees_with_the_reference(name, pooling, dtype, layout, seed):
    shape, options = pooling
    x = integers(np.random.default_rng(seed), shape, dtype)  # with ties
    with isas.selected(name):
        actual = F.max_pool2d(LAYOUTS[layout](x), return_indices=True, **options)
    expected = reference.max_pool2d(x, return_indices=True, **options)
    for a, e in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(a, e, strict=True)


# ---------------------------------------------------------------- what the compiler made of it

# Beyond x86-64's floor (SSE2): the VEX and EVEX encodings, whose mnemonics begin with v, and the
# general-purpose extensions that -mavx2 goes with. tzcnt is bsf to a processor that lacks it.
BEYOND_BASELINE = re.compile(
    r"\t(v(?!err|erw|mcall|mlaunch)\w+|andn|bextr|bls[ir]|blsmsk|bzhi|lzcnt|movbe|mulx|pdep|pext"
    r"|rorx|sarx|shlx|shrx)[lq]?(\s|$)"
)


KERNEL = re.compile(r"fc_\w+?_(?P<dtype>f\d+)_(?P<isa>[a-z]\w*)$")


def owners(library):
    """Instruction set, or None for code that runs anywhere, of the function at each address.

    A function's name says so or, if it is static, its file's: every kernel file was compiled once
    per instruction set, best first, and dtype, and the linker lists files in that order.
    """
    table = subprocess.run(["objdump", "-t", library], capture_output=True, text=True, check=True)
    if "no symbols" in table.stdout:
        pytest.skip("the libraries were stripped of their symbols")
    kernels = [found for name in table.stdout.split() if (found := KERNEL.match(name))]
    built = {found["isa"] for found in kernels}
    isas = [name for name in KNOWN if name in built]
    dtypes = len({found["dtype"] for found in kernels})
    owner, source, seen = {}, "", {}
    for line in table.stdout.splitlines():
        if found := re.match(r"\w+ l +df \*ABS\*\t\w+\s+(\S*)", line):
            source = found[1]
            seen[source] = seen.get(source, -1) + 1
        elif found := re.match(r"(\w+) .{6}F \.text\S*\t\w+\s+(?:\.hidden )?(\S+)", line):
            at = int(found[1], 16)
            if kernel := KERNEL.match(found[2]):
                owner[at] = kernel["isa"]
            elif line[17] == "l" and source.startswith("k_"):
                owner[at] = isas[seen[source] // dtypes]
            else:
                owner[at] = None
    return owner


@pytest.mark.skipif(sys.platform != "linux", reason="reads ELF")
@pytest.mark.skipif("avx2" not in AVAILABLE, reason="has no kernels for more than the baseline")
@pytest.mark.skipif(shutil.which("objdump") is None, reason="needs objdump")
def test_each_instruction_set_is_used_by_its_kernels_alone():
    folder = Path(fastconv.__file__).parent
    checked = dict.fromkeys([None, *KNOWN], 0)
    for library in sorted(folder.rglob("*.so")):
        owner = owners(library)
        listing = subprocess.run(
            ["objdump", "-d", "--no-show-raw-insn", library],
            capture_output=True,
            text=True,
            check=True,
        )
        at, function = None, ""
        for line in listing.stdout.splitlines():
            if found := re.match(r"(\w+) <(.*)>:$", line):
                at, function = owner.get(int(found[1], 16)), found[2]
            elif BEYOND_BASELINE.search(line):
                checked[at] += 1
                assert at in ("avx2", "avx512"), f"{library.name}: {function}: {line}"
                assert at == "avx512" or "zmm" not in line, f"{library.name}: {function}: {line}"
    assert checked["avx2"] > 1000, "objdump listed no AVX2 kernels"
