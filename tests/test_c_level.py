"""The C level: what the header says is there, is right, and is refused where it makes no sense."""

import ctypes
import os
import re
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from c_level import (
    CONSTANTS,
    FUNCTIONS,
    HEADER,
    PROTOTYPES,
    STATUSES,
    TABLE,
    Conv2dShape,
    Pool2dShape,
    Workspace,
    call,
    lent,
    needed,
    squeezed,
)
from children import output
from extensions import SETUP, build
from geometries import Conv, convolutions, integers, poolings
from hypothesis import given
from hypothesis import strategies as st

import fastconv
import fastconv.functional as F
from fastconv import _ops, reference
from fastconv._drivers import memory as memory_of_fastconv

KINDS = {np.dtype(np.float32): "f32", np.dtype(np.float64): "f64"}
DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])
FORMATS = pytest.mark.parametrize("channels_last", [False, True])


def flat(x, channels_last):
    """The elements of (N, C, H, W) in the order of one of the two memory formats."""
    return np.ascontiguousarray(np.moveaxis(x, 1, -1) if channels_last else x).ravel()


def unfilled(shape, dtype):
    """NaN, or a number that no index is: what stays so was not written."""
    return np.full(int(np.prod(shape)), np.nan if np.dtype(dtype).kind == "f" else -7, dtype)


def conv_shape(case, channels_last=False, **fields):
    """A checked Conv2dShape; fields are set before it is checked."""
    s, (n, c, h, w) = Conv2dShape(), case.input_shape
    k, _, kernel_h, kernel_w = case.weight_shape
    call("conv2d_shape_init", s, n, c, h, w, k, kernel_h, kernel_w, 1, 0, 1, case.groups)
    s.stride_h, s.stride_w = reference._pair(case.stride)
    s.dilation_h, s.dilation_w = reference._pair(case.dilation)
    sides = reference._sides(case.padding, (kernel_h, kernel_w), (s.dilation_h, s.dilation_w))
    (s.pad_top, s.pad_bottom), (s.pad_left, s.pad_right) = sides
    s.input_format = s.output_format = int(channels_last)
    for name, value in fields.items():
        setattr(s, name, value)
    assert call("conv2d_shape_check", s) == 0
    return s


def pool_shape(input_shape, options, channels_last=False, **fields):
    s = Pool2dShape()
    call("pool2d_shape_init", s, *input_shape, 1, 1, 1, 0)
    s.kernel_h, s.kernel_w = reference._pair(options["kernel_size"])
    stride = options.get("stride")
    s.stride_h, s.stride_w = reference._pair(options["kernel_size"] if stride is None else stride)
    s.pad_h, s.pad_w = reference._pair(options.get("padding", 0))
    s.dilation_h, s.dilation_w = reference._pair(options.get("dilation", 1))
    s.ceil_mode = options.get("ceil_mode", False)
    s.input_format = s.output_format = int(channels_last)
    for name, value in fields.items():
        setattr(s, name, value)
    assert call("pool2d_shape_check", s) == 0
    return s


# ---------------------------------------------------------------- the promise

_FORWARD = "const conv2d_shape *shape, const {0} *input, {1}, const {0} *bias, {0} *output, "
_CALLED = "workspace *workspace, int num_threads"
#: what extensions are compiled against: a change here is a new FASTCONV_ABI_VERSION
PROMISED = {
    "conv2d": _FORWARD.format("real", "const real *weight") + _CALLED,
    "conv2d_backward_input": "const conv2d_shape *shape, const real *grad_output, "
    "const real *weight, real *grad_input, " + _CALLED,
    "conv2d_backward_weight": "const conv2d_shape *shape, const real *grad_output, "
    "const real *input, real *grad_weight, " + _CALLED,
    "conv2d_backward_bias": "const conv2d_shape *shape, const real *grad_output, "
    "real *grad_bias, " + _CALLED,
    "conv2d_pack": "const conv2d_shape *shape, const real *weight, packed_conv2d **packed, "
    "int num_threads",
    "conv2d_packed": _FORWARD.format("real", "packed_conv2d *packed") + _CALLED,
    "max_pool2d": "const pool2d_shape *shape, const real *input, real *output, "
    "int64_t *indices, " + _CALLED,
    "max_pool2d_backward": "const pool2d_shape *shape, const real *grad_output, "
    "const int64_t *indices, real *grad_input, " + _CALLED,
    "avg_pool2d": "const pool2d_shape *shape, const real *input, real *output, " + _CALLED,
    "avg_pool2d_backward": "const pool2d_shape *shape, const real *grad_output, "
    "real *grad_input, " + _CALLED,
}
_SIZES = "Py_ssize_t batch, Py_ssize_t {}channels, Py_ssize_t in_h, Py_ssize_t in_w, "
_KERNEL = "Py_ssize_t kernel_h, Py_ssize_t kernel_w, Py_ssize_t stride, Py_ssize_t padding"
PROMISED_FOR_ALL = {
    "status_text": ("const char *", "int status"),
    "conv2d_shape_init": (
        "int",
        f"conv2d_shape *shape, {_SIZES.format('in_')}Py_ssize_t out_channels, {_KERNEL}, "
        "Py_ssize_t dilation, Py_ssize_t groups",
    ),
    "conv2d_shape_check": ("int", "conv2d_shape *shape"),
    "pool2d_shape_init": ("int", f"pool2d_shape *shape, {_SIZES.format('')}{_KERNEL}"),
    "pool2d_shape_init_adaptive": (
        "int",
        f"pool2d_shape *shape, {_SIZES.format('')}Py_ssize_t out_h, Py_ssize_t out_w",
    ),
    "pool2d_shape_check": ("int", "pool2d_shape *shape"),
    "conv2d_packed_free": ("void", "packed_conv2d *packed"),
}
#: their order is the table's
ORDER = (
    "status_text conv2d_shape_init conv2d_shape_check pool2d_shape_init "
    "pool2d_shape_init_adaptive pool2d_shape_check conv2d_f32 conv2d_f64 conv2d_backward_input_f32 "
    "conv2d_backward_input_f64 conv2d_backward_weight_f32 conv2d_backward_weight_f64 "
    "conv2d_backward_bias_f32 conv2d_backward_bias_f64 conv2d_pack_f32 conv2d_pack_f64 "
    "conv2d_packed_free conv2d_packed_f32 conv2d_packed_f64 max_pool2d_f32 max_pool2d_f64 "
    "max_pool2d_backward_f32 max_pool2d_backward_f64 avg_pool2d_f32 avg_pool2d_f64 "
    "avg_pool2d_backward_f32 avg_pool2d_backward_f64"
)
FIELDS = {
    Conv2dShape: (
        "batch in_channels in_h in_w out_channels kernel_h kernel_w stride_h stride_w pad_top "
        "pad_bottom pad_left pad_right dilation_h dilation_w groups input_format output_format "
        "activation algorithm out_h out_w"
    ),
    Pool2dShape: (
        "batch channels in_h in_w kernel_h kernel_w stride_h stride_w pad_h pad_w dilation_h "
        "dilation_w ceil_mode adaptive count_include_pad divisor_override input_format "
        "output_format out_h out_w"
    ),
    Workspace: "data size",
}
PROMISED_STATUSES = {
    "OK": 0,
    "OUT_OF_MEMORY": 1,
    "INDEX_OUT_OF_RANGE": 2,
    "NULL_POINTER": 4,
    "INVALID_SIZE": 5,
    "INVALID_STRIDE": 6,
    "INVALID_PADDING": 7,
    "INVALID_GROUPS": 8,
    "INVALID_OPTION": 9,
    "KERNEL_TOO_LARGE": 10,
    "TOO_LARGE": 11,
    "SHAPE_NOT_CHECKED": 12,
    "WEIGHT_MISMATCH": 13,
    "WORKSPACE_TOO_SMALL": 14,
}


def promised():
    found = dict(PROMISED_FOR_ALL)
    for name, parameters in PROMISED.items():
        for kind, real in (("f32", "float"), ("f64", "double")):
            found[f"{name}_{kind}"] = ("int", re.sub(r"\breal\b", real, parameters))
    return found


def test_the_header_s_functions_are_the_promised_ones():
    found = {
        name: (result, parameters.replace("fastconv_", ""))
        for name, (result, parameters) in PROTOTYPES.items()
    }
    assert found == promised()
    assert " ".join(PROTOTYPES) == ORDER


def test_the_header_s_structures_and_statuses_are_the_promised_ones():
    for structure, fields in FIELDS.items():
        assert " ".join(name for name, _ in structure._fields_) == fields
    assert {kind for _, kind in Conv2dShape._fields_ + Pool2dShape._fields_} == {ctypes.c_ssize_t}
    assert STATUSES == PROMISED_STATUSES
    assert re.search(r"#define FASTCONV_ABI_VERSION 1\n", HEADER)


def test_the_table_says_what_it_is():
    assert TABLE.abi_version == 1
    assert TABLE.size == ctypes.sizeof(TABLE)
    assert all(getattr(TABLE, name) for name in PROTOTYPES)


def cython_type(text):
    """A parameter's type as Cython writes it into a capsule's name."""
    text = re.sub(r"\w+$", "", text).strip().replace("fastconv_", "")
    for c, cython in (
        ("conv2d_shape", "Conv2dShape"),
        ("pool2d_shape", "Pool2dShape"),
        ("workspace", "Workspace"),
        ("packed_conv2d", "PackedConv2d"),
    ):
        text = re.sub(rf"\b{c}\b", cython, text)
    return re.sub(r"^const (\w+)", r"\1 const", text)


def test_cython_s_functions_are_the_header_s():
    found = {
        name: squeezed(
            re.sub(r"__pyx_t_8fastconv_4_ops_", "", re.search(r'"(.*)"', repr(capsule))[1])
        )
        for name, capsule in _ops.__pyx_capi__.items()
    }
    expected = {}
    for name, (result, parameters) in PROTOTYPES.items():
        types = ", ".join(cython_type(p) for p in parameters.split(", "))
        result = re.sub(r"^const (\w+) ", r"\1 const ", result)
        expected[name] = squeezed(f"{result}{'' if result[-1] == '*' else ' '}({types})")
    assert found == expected


def declarations(name):
    text = (resources.files("fastconv") / name).read_text(encoding="utf-8")
    return re.sub(r"#.*", "", text)


def test_cython_s_structures_and_constants_are_the_header_s():
    text = declarations("_ops.pxd")
    for structure in FIELDS:
        body = re.search(rf"ctypedef struct {structure.__name__}:\n((?:    .*\n|\n)+)", text)[1]
        names = re.sub(r"Py_ssize_t|size_t|void", "", body)
        assert " ".join(re.findall(r"\w+", names)) == FIELDS[structure]
    values = dict(re.findall(r"(\w+) *= *(\d+)", text + declarations("_drivers/status.pxd")))
    found = {name: int(value) for name, value in values.items()}
    assert found.pop("INTERRUPTED") == 3  # of drivers; the C level never returns it
    assert found == CONSTANTS


def test_the_package_offers_all_that_ops_declares():
    text = declarations("_ops.pxd")
    patterns = (
        r"^cdef (?:int|void|const char \*) ?\*?(\w+)\(",
        r"^ctypedef struct (\w+)",
        r"^cp?def enum (\w+)",
        r"^    (\w+) *= *\d",
    )
    declared = {name for pattern in patterns for name in re.findall(pattern, text, re.M)}
    declared |= set(re.findall(r"\w+", re.search(r"status cimport \((.*?)\)", text, re.S)[1]))
    offered = re.search(r"cimport \((.*)\)", declarations("__init__.pxd"), re.S)[1]
    assert set(re.findall(r"\w+", offered)) == declared


# ---------------------------------------------------------------- right results

CASES = [
    Conv((2, 3, 8, 9), (4, 3, 3, 3)),
    Conv((1, 1, 28, 28), (6, 1, 5, 5), padding=2),
    Conv((2, 5, 9, 11), (3, 5, 2, 4), stride=(2, 3), padding=(0, 2, 1, 0)),
    Conv((2, 6, 8, 8), (9, 2, 3, 3), padding=1, groups=3),
    Conv((2, 8, 9, 9), (8, 1, 3, 3), padding=2, dilation=2, groups=8),
    Conv((2, 40, 12, 12), (33, 40, 1, 1)),
    Conv((3, 40, 14, 14), (40, 40, 3, 3), padding=1),
    Conv((1, 4, 5, 5), (4, 4, 1, 1), stride=7),
]


def check_passes(case, dtype, channels_last, rng, num_threads=0):
    """All passes are exactly the reference's, on small integers."""
    x, w, b, g = case.operands(rng, dtype)
    kind, s = KINDS[x.dtype], conv_shape(case, channels_last, algorithm=CONSTANTS["DIRECT"])
    assert (s.batch, s.out_channels, s.out_h, s.out_w) == g.shape
    images, grad = flat(x, channels_last), flat(g, channels_last)

    def check(name, expected, *arrays):
        out = unfilled(expected.shape, dtype)
        assert lent(f"{name}_{kind}", s, *arrays, out, num_threads=num_threads) == 0
        np.testing.assert_array_equal(out, flat(expected, channels_last))

    check("conv2d", reference.conv2d(x, w, b, *case.options), images, w, b)
    check("conv2d", reference.conv2d(x, w, None, *case.options), images, w, None)
    expected = reference.conv2d_backward_input(g, w, x.shape, *case.options)
    check("conv2d_backward_input", expected, grad, w)
    packed = ctypes.c_void_p()
    assert call(f"conv2d_pack_{kind}", s, w, packed, num_threads) == 0
    check("conv2d_packed", reference.conv2d(x, w, b, *case.options), images, packed.value, b)
    call("conv2d_packed_free", packed.value)
    channels_last = False  # what follows is no image
    expected = reference.conv2d_backward_weight(g, x, w.shape, *case.options)
    check("conv2d_backward_weight", expected, grad, images)
    check("conv2d_backward_bias", reference.conv2d_backward_bias(g)[:, None], grad)


@FORMATS
@DTYPES
@pytest.mark.parametrize("case", CASES, ids=str)
def test_all_passes_on_one_geometry(case, dtype, channels_last, rng):
    check_passes(case, dtype, channels_last, rng)


@given(case=convolutions(), dtype=st.sampled_from([np.float32, np.float64]), last=st.booleans())
def test_all_passes_on_any_geometry(case, dtype, last):
    if len(case.input_shape) == 3:
        case = Conv((1, *case.input_shape), *astuple(case)[1:])
    check_passes(case, dtype, last, np.random.default_rng(0))


def test_formats_may_differ(rng):
    case = CASES[3]
    x, w, b, _ = case.operands(rng, np.float32)
    s = conv_shape(case, output_format=CONSTANTS["CHANNELS_LAST"])
    expected = reference.conv2d(x, w, b, *case.options)
    out = unfilled(expected.shape, np.float32)
    assert lent("conv2d_f32", s, x, w, b, out) == 0
    np.testing.assert_array_equal(out, flat(expected, channels_last=True))


def test_relu_rides_along(rng):
    case = CASES[0]
    x, w, b, _ = case.operands(rng, np.float32)
    s = conv_shape(case, activation=CONSTANTS["ACTIVATION_RELU"])
    expected = reference.conv2d(x, w, b, *case.options, activation="relu")
    assert (expected == 0).any()
    out = unfilled(expected.shape, np.float32)
    assert lent("conv2d_f32", s, x, w, b, out) == 0
    np.testing.assert_array_equal(out, expected.ravel())


@pytest.mark.parametrize("name", ["direct", "winograd"])
def test_algorithms_are_the_ones_of_python(name, rng):
    case = Conv((1, 33, 20, 21), (35, 33, 3, 3), padding=1)
    x, w, b = (rng.standard_normal(s) for s in (case.input_shape, case.weight_shape, 35))
    g = rng.standard_normal((1, 35, 20, 21))
    s = conv_shape(case, algorithm=CONSTANTS[name.upper()])
    for function, arrays, expected in (
        ("conv2d", (x, w, b), F.conv2d(x, w, b, *case.options, algorithm=name)),
        (
            "conv2d_backward_input",
            (g, w),
            F.conv2d_backward_input(g, w, x.shape, *case.options, algorithm=name),
        ),
        (
            "conv2d_backward_weight",
            (g, x),
            F.conv2d_backward_weight(g, x, w.shape, *case.options, algorithm=name),
        ),
    ):
        out = unfilled(expected.shape, np.float64)
        assert lent(f"{function}_f64", s, *arrays, out) == 0
        assert out.tobytes() == expected.tobytes()


def test_same_bits_for_any_number_of_threads(rng):
    case = Conv((4, 40, 30, 30), (40, 40, 3, 3), padding=1)
    x, w = (rng.standard_normal(s) for s in (case.input_shape, case.weight_shape))
    s = conv_shape(case)
    results = []
    for n in (1, 2, 3, 7):
        out = unfilled((4, 40, 30, 30), np.float64)
        assert lent("conv2d_f64", s, x, w, None, out, num_threads=n) == 0
        results.append(out.tobytes())
    assert all(r == results[0] for r in results)


POOLINGS = [
    ((2, 5, 8, 9), {"kernel_size": 2}),
    ((2, 40, 9, 9), {"kernel_size": 3, "stride": 2, "padding": 1}),
    ((1, 3, 10, 7), {"kernel_size": (3, 2), "stride": (2, 1), "padding": 1, "ceil_mode": True}),
]


def check_max_pool(input_shape, options, dtype, channels_last, rng):
    x = integers(rng, input_shape, dtype)  # with ties
    kind, s = KINDS[x.dtype], pool_shape(input_shape, options, channels_last)
    images = flat(x, channels_last)
    y, indices = reference.max_pool2d(x, return_indices=True, **options)
    out, where = unfilled(y.shape, dtype), unfilled(y.shape, np.int64)
    assert lent(f"max_pool2d_{kind}", s, images, out, None) == 0
    np.testing.assert_array_equal(out, flat(y, channels_last))
    out[:] = np.nan
    assert lent(f"max_pool2d_{kind}", s, images, out, where) == 0
    np.testing.assert_array_equal(out, flat(y, channels_last))
    np.testing.assert_array_equal(where, flat(indices, channels_last))
    g = integers(rng, y.shape, dtype)
    out = unfilled(x.shape, dtype)
    grad = flat(g, channels_last)
    assert lent(f"max_pool2d_backward_{kind}", s, grad, where, out) == 0
    expected = reference.max_pool2d_backward(g, indices, x.shape)
    np.testing.assert_array_equal(out, flat(expected, channels_last))


def check_avg_pool(input_shape, options, dtype, channels_last, rng, **fields):
    x = integers(rng, input_shape, dtype)
    kind = KINDS[x.dtype]
    s = pool_shape(
        input_shape,
        options,
        channels_last,
        count_include_pad=fields.get("count_include_pad", 1),
        divisor_override=fields.get("divisor_override") or 0,
    )
    tolerance = {"rtol": 1e-6, "atol": 1e-6}
    y = reference.avg_pool2d(x, **options, **fields)
    out = unfilled(y.shape, dtype)
    assert lent(f"avg_pool2d_{kind}", s, flat(x, channels_last), out) == 0
    np.testing.assert_allclose(out, flat(y, channels_last), **tolerance)
    g = integers(rng, y.shape, dtype)
    out = unfilled(x.shape, dtype)
    assert lent(f"avg_pool2d_backward_{kind}", s, flat(g, channels_last), out) == 0
    expected = reference.avg_pool2d_backward(g, x.shape, **options, **fields)
    np.testing.assert_allclose(out, flat(expected, channels_last), **tolerance)


@FORMATS
@DTYPES
@pytest.mark.parametrize(("input_shape", "options"), POOLINGS)
def test_pooling(input_shape, options, dtype, channels_last, rng):
    check_max_pool(input_shape, options, dtype, channels_last, rng)
    check_avg_pool(input_shape, options, dtype, channels_last, rng)
    check_avg_pool(input_shape, options, dtype, channels_last, rng, count_include_pad=False)
    check_avg_pool(input_shape, options, dtype, channels_last, rng, divisor_override=4)


@given(pooling=poolings(dilated=True), last=st.booleans())
def test_max_pooling_of_any_geometry(pooling, last):
    shape, options = pooling
    shape = shape if len(shape) == 4 else (1, *shape)
    check_max_pool(shape, options, np.float32, last, np.random.default_rng(0))


@given(pooling=poolings(dilated=False), last=st.booleans())
def test_average_pooling_of_any_geometry(pooling, last):
    shape, options = pooling
    shape = shape if len(shape) == 4 else (1, *shape)
    check_avg_pool(shape, options, np.float32, last, np.random.default_rng(0))


@FORMATS
@pytest.mark.parametrize("size", [(1, 1), (3, 4), (7, 5), (9, 12)])
def test_adaptive_pooling(size, channels_last, rng):
    x = integers(rng, (2, 5, 7, 9), np.float32)
    s = Pool2dShape()
    assert call("pool2d_shape_init_adaptive", s, *x.shape, *size) == 0
    s.input_format = s.output_format = int(channels_last)
    images = flat(x, channels_last)
    out = unfilled((2, 5, *size), np.float32)
    assert lent("avg_pool2d_f32", s, images, out) == 0
    expected = flat(reference.adaptive_avg_pool2d(x, size), channels_last)
    np.testing.assert_allclose(out, expected, rtol=1e-6)
    assert lent("max_pool2d_f32", s, images, out, None) == 0
    expected = flat(reference.adaptive_max_pool2d(x, size), channels_last)
    np.testing.assert_array_equal(out, expected)


def test_an_empty_batch():
    case = Conv((0, 3, 8, 8), (4, 3, 3, 3))
    s, w = conv_shape(case), np.ones((4, 3, 3, 3), np.float32)
    assert lent("conv2d_f32", s, None, w, None, None) == 0
    assert lent("conv2d_backward_input_f32", s, None, w, None) == 0
    grad, grad_bias = unfilled(w.shape, np.float32), unfilled(4, np.float32)
    assert lent("conv2d_backward_weight_f32", s, None, None, grad) == 0
    assert lent("conv2d_backward_bias_f32", s, None, grad_bias) == 0
    assert not grad.any()
    assert not grad_bias.any()
    p = pool_shape((0, 3, 8, 8), {"kernel_size": 2})
    assert lent("max_pool2d_f32", p, None, None, None) == 0
    assert lent("max_pool2d_backward_f32", p, None, None, None) == 0
    assert lent("avg_pool2d_f32", p, None, None) == 0
    assert lent("avg_pool2d_backward_f32", p, None, None) == 0


def test_threads_share_a_geometry_and_packed_weights(rng):
    case = Conv((2, 16, 33, 33), (32, 16, 3, 3), padding=1)
    x, w, b, _ = case.operands(rng, np.float32)
    expected = reference.conv2d(x, w, b, *case.options).ravel()
    elsewhere = conv_shape(Conv((1, 16, 1, 1), (32, 16, 3, 3), padding=1), algorithm=1)
    packed, s = ctypes.c_void_p(), conv_shape(case, algorithm=CONSTANTS["WINOGRAD"])
    # packed for a geometry without Winograd's algorithm: the threads below race to add its points
    assert call("conv2d_pack_f32", elsewhere, w, packed, 1) == 0

    def run(i):
        out = unfilled(expected.shape, np.float32)
        if i % 2:
            assert lent("conv2d_packed_f32", s, x, packed.value, b, out) == 0
        else:
            assert lent("conv2d_f32", s, x, w, b, out) == 0
        return out

    with ThreadPoolExecutor(8) as pool:
        results = [out.tobytes() for out in pool.map(run, range(32))]
    call("conv2d_packed_free", packed.value)
    np.testing.assert_allclose(np.frombuffer(results[0], np.float32), expected, atol=1e-3)
    assert set(results) == {results[0]}


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers on this system")
def test_signals_wait_until_a_call_returns():
    """A handler's exception has nowhere to go while the caller holds no GIL."""
    code = """
import signal
import numpy as np
from c_level import Conv2dShape, call, lent

def handler(*_):
    raise KeyError

s, x, w = Conv2dShape(), np.ones((8, 64, 200, 200)), np.ones((64, 64, 3, 3))
call("conv2d_shape_init", s, *x.shape, *w.shape[:1], 3, 3, 1, 1, 1, 1)
out = np.full(x.shape, np.nan)
signal.signal(signal.SIGALRM, handler)
try:
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    lent("conv2d_f64", s, x, w, None, out, num_threads=1)
    while True:  # until the signal has come
        pass
except KeyError:
    print(np.isnan(out).sum())
"""
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    assert output(code, PYTHONPATH=path) == "0"


# ---------------------------------------------------------------- workspaces

# between them all drivers, one and several tasks, partial sums, panels and points
WORKSPACES = [
    *CASES,
    Conv((1, 3, 60, 60), (64, 3, 3, 3), padding=1),
    Conv((1, 512, 7, 7), (512, 512, 3, 3), padding=1),
    Conv((2, 64, 30, 30), (64, 64, 3, 3), padding=1),
    Conv((1, 256, 9, 9), (80, 256, 1, 1), stride=2),
    Conv((2, 64, 20, 20), (64, 1, 3, 3), padding=1, stride=2, groups=64),
    Conv((2, 64, 20, 20), (64, 4, 3, 3), padding=1, groups=16),
    Conv((8, 20, 40, 40), (24, 20, 5, 5), stride=(2, 1)),
]
ROOM = 4096  # bytes around a workspace that nobody may touch


def check_workspace(name, *arguments, out, num_threads):
    """With exactly as much as is asked for, the same bits; with a byte less a refusal."""
    assert lent(name, *arguments, num_threads=num_threads) == 0
    expected = out.tobytes()
    size = needed(name, *arguments, num_threads=num_threads)
    memory = np.full(2 * ROOM + size + 1, 0xA5, np.uint8)
    for start in (ROOM, ROOM + 1):
        out[:] = -7
        memory[:] = 0xA5
        lent_memory = Workspace(memory.ctypes.data + start, size)
        assert lent(name, *arguments, num_threads=num_threads, workspace=lent_memory) == 0
        assert lent_memory.size == size
        assert out.tobytes() == expected
        assert (memory[:start] == 0xA5).all()
        assert (memory[start + size :] == 0xA5).all()
        out[:] = -7
        assert memory_of_fastconv.fail_after(1) == 0  # and nothing else is allocated
        try:
            assert lent(name, *arguments, num_threads=num_threads, workspace=lent_memory) == 0
        finally:
            assert memory_of_fastconv.fail_after(0) == 1
        assert out.tobytes() == expected
    if size > 64:
        # 64 bytes of it are there to start on a cache line
        start = -memory.ctypes.data % 64
        few = Workspace(memory.ctypes.data + start, size - 65)
        status = lent(name, *arguments, num_threads=num_threads, workspace=few)
        assert status == STATUSES["WORKSPACE_TOO_SMALL"]
    assert needed(name, *arguments, num_threads=num_threads) == size
    assert lent(name, *arguments, num_threads=num_threads) == 0  # and all is as before
    assert out.tobytes() == expected


@pytest.mark.parametrize("num_threads", [1, 3])
@FORMATS
@pytest.mark.parametrize("case", WORKSPACES, ids=str)
def test_convolution_in_the_caller_s_memory(case, channels_last, num_threads, rng):
    x, w, b, g = case.operands(rng, np.float32)
    s = conv_shape(case, channels_last)
    packed = ctypes.c_void_p()
    assert call("conv2d_pack_f32", s, w, packed, 1) == 0
    for name, *arrays, out in (
        ("conv2d_f32", x, w, b, g.copy()),
        ("conv2d_packed_f32", x, packed.value, b, g.copy()),
        ("conv2d_backward_input_f32", g, w, x.copy()),
        ("conv2d_backward_weight_f32", g, x, w.copy()),
        ("conv2d_backward_bias_f32", g, b.copy()),
    ):
        check_workspace(name, s, *arrays, out, out=out, num_threads=num_threads)
    call("conv2d_packed_free", packed.value)


@pytest.mark.parametrize("num_threads", [1, 3])
@FORMATS
@pytest.mark.parametrize(("input_shape", "options"), [*POOLINGS, ((4, 40, 64, 64), POOLINGS[1][1])])
def test_pooling_in_the_caller_s_memory(input_shape, options, channels_last, num_threads, rng):
    s = pool_shape(input_shape, options, channels_last)
    x = integers(rng, input_shape, np.float32).ravel()
    y = unfilled((*input_shape[:2], s.out_h, s.out_w), np.float32)
    indices = unfilled(y.shape, np.int64)
    many = {"num_threads": num_threads}
    size = needed("max_pool2d_f32", s, x, y, None, **many)
    assert size == needed("max_pool2d_f32", s, None, None, indices, **many)
    for where in (None, indices):
        memory = np.empty(size, np.uint8)
        workspace = Workspace(memory.ctypes.data, size)
        assert lent("max_pool2d_f32", s, x, y, where, workspace=workspace, **many) == 0
    check_workspace("max_pool2d_backward_f32", s, y, indices, x, out=x, **many)
    check_workspace("avg_pool2d_f32", s, x, y, out=y, **many)
    check_workspace("avg_pool2d_backward_f32", s, y, x, out=x, **many)


def test_a_query_reads_and_writes_no_array():
    case = CASES[6]
    s = conv_shape(case)
    nowhere = ctypes.c_void_p(1).value  # a pointer that no process may follow
    assert needed("conv2d_f32", s, nowhere, nowhere, nowhere, nowhere) > 64
    assert needed("conv2d_f32", s, None, None, None, None) > 64
    assert needed("conv2d_backward_input_f32", s, nowhere, nowhere, nowhere) > 64
    assert needed("conv2d_backward_weight_f32", s, nowhere, nowhere, nowhere) > 64
    assert needed("conv2d_backward_bias_f32", s, nowhere, nowhere) > 64
    p = pool_shape((2, 40, 50, 50), {"kernel_size": 3, "stride": 2})
    assert needed("max_pool2d_f32", p, nowhere, nowhere, nowhere) > 64
    assert needed("max_pool2d_backward_f32", p, nowhere, nowhere, nowhere) >= 64
    assert needed("avg_pool2d_f32", p, nowhere, nowhere) > 64
    assert needed("avg_pool2d_backward_f32", p, nowhere, nowhere) > 64


def test_more_threads_than_the_workspace_is_for_are_refused(rng):
    case = Conv((4, 40, 30, 30), (40, 40, 3, 3), padding=1)
    x, w, _, g = case.operands(rng, np.float32)
    s = conv_shape(case)
    size = needed("conv2d_f32", s, x, w, None, g, num_threads=1)
    if needed("conv2d_f32", s, x, w, None, g, num_threads=4) == size:
        pytest.skip("built without OpenMP")
    memory = np.empty(size, np.uint8)
    workspace = Workspace(memory.ctypes.data, size)
    status = lent("conv2d_f32", s, x, w, None, g, workspace=workspace, num_threads=4)
    assert status == STATUSES["WORKSPACE_TOO_SMALL"]


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"batch": -1}, "INVALID_SIZE"),
        ({"in_channels": 0}, "INVALID_SIZE"),
        ({"out_channels": -4}, "INVALID_SIZE"),
        ({"in_h": 0, "pad_top": 9}, "INVALID_SIZE"),
        ({"kernel_h": 0}, "INVALID_SIZE"),
        ({"kernel_w": -(2**63)}, "INVALID_SIZE"),
        ({"stride_h": 0}, "INVALID_STRIDE"),
        ({"stride_w": -1}, "INVALID_STRIDE"),
        ({"dilation_w": 0}, "INVALID_STRIDE"),
        ({"pad_left": -1}, "INVALID_PADDING"),
        ({"groups": 0}, "INVALID_GROUPS"),
        ({"groups": 3}, "INVALID_GROUPS"),
        ({"groups": 4, "out_channels": 6}, "INVALID_GROUPS"),
        ({"input_format": 2}, "INVALID_OPTION"),
        ({"output_format": -1}, "INVALID_OPTION"),
        ({"activation": 2}, "INVALID_OPTION"),
        ({"algorithm": 3}, "INVALID_OPTION"),
        ({"algorithm": 2, "stride_h": 2}, "INVALID_OPTION"),
        ({"algorithm": 2, "kernel_w": 2}, "INVALID_OPTION"),
        ({"algorithm": 2, "groups": 2}, "INVALID_OPTION"),
        ({"kernel_h": 9}, "KERNEL_TOO_LARGE"),
        ({"dilation_h": 4}, "KERNEL_TOO_LARGE"),
        ({"dilation_h": 2**62}, "KERNEL_TOO_LARGE"),
        ({"kernel_h": 2**62, "dilation_h": 2**62}, "KERNEL_TOO_LARGE"),
        ({"pad_top": 2**62}, "TOO_LARGE"),
        ({"pad_top": 2**58, "pad_bottom": 2**58}, "TOO_LARGE"),
        ({"batch": 2**40, "in_channels": 2**40}, "TOO_LARGE"),
        ({"in_h": 2**32, "in_w": 2**32}, "TOO_LARGE"),
        ({"in_w": 2**63 - 1}, "TOO_LARGE"),
        ({"out_channels": 2**62}, "TOO_LARGE"),
    ],
)
def test_what_is_no_convolution(fields, status):
    s = conv_shape(Conv((2, 8, 8, 8), (4, 8, 3, 3)))
    for name, value in fields.items():
        setattr(s, name, value)
    before = bytes(s)
    assert call("conv2d_shape_check", s) == STATUSES[status]
    assert bytes(s) == before
    x = np.zeros(2 * 8 * 8 * 8)
    assert lent("conv2d_f64", s, x, x, None, x) == STATUSES[status]
    assert lent("conv2d_backward_input_f64", s, x, x, x) == STATUSES[status]
    assert lent("conv2d_backward_weight_f64", s, x, x, x) == STATUSES[status]
    assert lent("conv2d_backward_bias_f64", s, x, x) == STATUSES[status]
    assert call("conv2d_pack_f64", s, x, ctypes.c_void_p(), 0) == STATUSES[status]


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"batch": -1}, "INVALID_SIZE"),
        ({"channels": 0}, "INVALID_SIZE"),
        ({"in_w": 0}, "INVALID_SIZE"),
        ({"kernel_w": 0}, "INVALID_SIZE"),
        ({"stride_h": 0}, "INVALID_STRIDE"),
        ({"dilation_h": -3}, "INVALID_STRIDE"),
        ({"pad_h": -1}, "INVALID_PADDING"),
        ({"pad_w": 2}, "INVALID_PADDING"),
        ({"pad_w": 2**62}, "INVALID_PADDING"),
        ({"ceil_mode": 2}, "INVALID_OPTION"),
        ({"adaptive": -1}, "INVALID_OPTION"),
        ({"count_include_pad": 7}, "INVALID_OPTION"),
        ({"divisor_override": -1}, "INVALID_OPTION"),
        ({"input_format": 5}, "INVALID_OPTION"),
        ({"kernel_h": 9}, "KERNEL_TOO_LARGE"),
        ({"dilation_w": 2**62}, "KERNEL_TOO_LARGE"),
        ({"channels": 2**62}, "TOO_LARGE"),
        ({"adaptive": 1, "out_h": 0}, "INVALID_SIZE"),
        ({"adaptive": 1, "out_h": 2**40, "out_w": 2**40}, "TOO_LARGE"),
    ],
)
def test_what_is_no_pooling(fields, status):
    s = pool_shape((2, 8, 8, 8), {"kernel_size": 3})
    for name, value in fields.items():
        setattr(s, name, value)
    before = bytes(s)
    assert call("pool2d_shape_check", s) == STATUSES[status]
    assert bytes(s) == before
    x = np.zeros(2 * 8 * 8 * 8)
    assert lent("max_pool2d_f64", s, x, x, None) == STATUSES[status]
    assert lent("max_pool2d_backward_f64", s, x, x, x) == STATUSES[status]
    assert lent("avg_pool2d_f64", s, x, x) == STATUSES[status]
    assert lent("avg_pool2d_backward_f64", s, x, x) == STATUSES[status]


def test_huge_steps_are_what_they_come_to(rng):
    x = integers(rng, (1, 4, 5, 5))
    w = integers(rng, (4, 4, 1, 1))
    case = Conv(x.shape, w.shape)
    s = conv_shape(case, stride_h=2**63 - 1, stride_w=2**62, dilation_h=2**63 - 1)
    g, out = unfilled((1, 4, 1, 1), np.float64), unfilled(x.shape, np.float64)
    assert lent("conv2d_f64", s, x, w, None, g) == 0
    np.testing.assert_array_equal(g, w[:, :, 0, 0] @ x[0, :, 0, 0])
    assert lent("conv2d_backward_input_f64", s, g, w, out) == 0
    np.testing.assert_array_equal(out.reshape(x.shape)[0, :, 0, 0], w[:, :, 0, 0].T @ g)
    assert np.count_nonzero(out) <= 4


def test_a_shape_that_was_not_checked_is_refused():
    s = conv_shape(CASES[0])
    x = np.zeros(4096)
    for field in ("out_h", "out_w"):
        setattr(s, field, getattr(s, field) + 1)
        assert lent("conv2d_f64", s, x, x, None, x) == STATUSES["SHAPE_NOT_CHECKED"]
        call("conv2d_shape_check", s)
    s.pad_top = 1
    assert lent("conv2d_backward_input_f64", s, x, x, x) == STATUSES["SHAPE_NOT_CHECKED"]
    p = pool_shape(*POOLINGS[0])
    p.in_w *= 2
    assert lent("max_pool2d_f64", p, x, x, None) == STATUSES["SHAPE_NOT_CHECKED"]


def test_missing_arrays_are_refused():
    case = CASES[0]
    s, p = conv_shape(case), pool_shape(*POOLINGS[0])
    x, null = np.zeros(4096), STATUSES["NULL_POINTER"]
    for name, arrays, optional in (
        ("conv2d_f64", 4, 2),
        ("conv2d_backward_input_f64", 3, None),
        ("conv2d_backward_weight_f64", 3, None),
        ("conv2d_backward_bias_f64", 2, None),
        ("max_pool2d_f64", 3, 2),
        ("max_pool2d_backward_f64", 3, None),
        ("avg_pool2d_f64", 2, None),
        ("avg_pool2d_backward_f64", 2, None),
    ):
        shape = s if name.startswith("conv") else p
        for missing in range(arrays):
            operands = [None if i == missing else x for i in range(arrays)]
            expected = 0 if missing == optional else null
            assert lent(name, shape, *operands) == expected
        assert lent(name, None, *[x] * arrays) == null
    assert call("conv2d_pack_f64", s, None, ctypes.c_void_p(), 0) == null
    assert call("conv2d_pack_f64", s, x, None, 0) == null
    assert lent("conv2d_packed_f64", s, x, None, None, x) == null
    assert call("conv2d_shape_check", None) == null
    assert call("pool2d_shape_check", None) == null
    assert call("conv2d_shape_init", None, *[1] * 11) == null
    assert call("pool2d_shape_init", None, *[1] * 8) == null
    assert call("pool2d_shape_init_adaptive", None, *[1] * 6) == null
    call("conv2d_packed_free", None)


@pytest.mark.parametrize("num_threads", [-1, 1025])
def test_impossible_numbers_of_threads_are_refused(num_threads):
    s, p, x = conv_shape(CASES[0]), pool_shape(*POOLINGS[0]), np.zeros(4096)
    many = {"num_threads": num_threads}
    assert lent("conv2d_f64", s, x, x, None, x, **many) == STATUSES["INVALID_OPTION"]
    assert lent("avg_pool2d_f64", p, x, x, **many) == STATUSES["INVALID_OPTION"]


def test_indices_outside_their_plane_are_refused():
    p = pool_shape((1, 1, 4, 4), {"kernel_size": 2})
    g, out = np.ones(4), unfilled(16, np.float64)
    for wrong in (16, -2, 2**62):
        indices = np.array([0, wrong, 10, -1], np.int64)
        status = lent("max_pool2d_backward_f64", p, g, indices, out)
        assert status == STATUSES["INDEX_OUT_OF_RANGE"]


def test_packed_weights_fit_their_convolution_only(rng):
    case = Conv((1, 8, 9, 9), (8, 4, 3, 3), groups=2)
    w = integers(rng, case.weight_shape)
    packed, s, x = ctypes.c_void_p(), conv_shape(case), np.zeros(4096)
    assert call("conv2d_pack_f64", s, w, packed, 0) == 0
    for other in (
        Conv((1, 4, 9, 9), (8, 4, 3, 3)),
        Conv((1, 8, 9, 9), (6, 4, 3, 3), groups=2),
        Conv((1, 8, 9, 9), (8, 4, 3, 2), groups=2),
        Conv((1, 12, 9, 9), (8, 6, 3, 3), groups=2),
    ):
        shape = conv_shape(other)
        status = lent("conv2d_packed_f64", shape, x, packed.value, None, x)
        assert status == STATUSES["WEIGHT_MISMATCH"]
    status = lent("conv2d_packed_f32", s, x, packed.value, None, x)
    assert status == STATUSES["WEIGHT_MISMATCH"]
    call("conv2d_packed_free", packed.value)


def test_packed_weights_are_a_copy(rng):
    case = Conv((1, 6, 9, 9), (6, 1, 3, 3), groups=6)  # whose driver takes weights as they come
    x, w, b, _ = case.operands(rng)
    expected = reference.conv2d(x, w, b, *case.options)
    packed, s, out = ctypes.c_void_p(), conv_shape(case), unfilled(expected.shape, np.float64)
    assert call("conv2d_pack_f64", s, w, packed, 0) == 0
    w[...] = np.nan
    assert lent("conv2d_packed_f64", s, x, packed.value, b, out) == 0
    call("conv2d_packed_free", packed.value)
    np.testing.assert_array_equal(out, expected.ravel())


@pytest.mark.parametrize(
    "change",
    [
        ("#define FASTCONV_ABI_VERSION 1", "#define FASTCONV_ABI_VERSION 2"),
        ("} fastconv_api;", "    void (*of_a_later_version)(void);\n} fastconv_api;"),
    ],
)
def test_an_extension_for_another_level_is_refused(change, tmp_path):
    """By its own copy of the header, which is of an older level or a later version."""
    header = (Path(fastconv.get_include()) / "fastconv.h").read_text(encoding="utf-8")
    assert change[0] in header
    (tmp_path / "fastconv.h").write_text(header.replace(*change), encoding="utf-8")
    (tmp_path / "another.pyx").write_text(
        """# cython: language_level=3
cdef extern from "fastconv.h":
    ctypedef struct fastconv_api:
        pass
    const fastconv_api *fastconv_import() except NULL
fastconv_import()
""",
        encoding="utf-8",
    )
    (tmp_path / "setup.py").write_text(
        SETUP.format(name="another").replace('.pyx"]', '.pyx"], include_dirs=["."]'),
        encoding="utf-8",
    )
    with pytest.raises(ImportError, match="built for the C level"):
        build("another", tmp_path)


def test_every_status_has_a_text_of_its_own():
    texts = [call("status_text", value) for value in STATUSES.values()]
    assert all(texts)
    assert len(set(texts)) == len(texts)
    for unknown in (-1, 3, 15, 2**31 - 1):
        assert call("status_text", unknown) == b"unknown status"


def test_get_include_is_where_the_header_is():
    assert fastconv.get_include() == str(resources.files("fastconv") / "include")
    assert set(FUNCTIONS) == set(PROTOTYPES)
