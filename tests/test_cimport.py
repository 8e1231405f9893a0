"""The C level, from outside: an extension that cimports the installed fastconv."""

import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from extensions import build
from geometries import Conv, integers

from fastconv import _ops, reference

EXAMPLE = Path(__file__).parent / "cimport_example" / "filters.pyx"


@pytest.fixture(scope="module")
def filters(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cimport")
    shutil.copy(EXAMPLE, folder)
    return build("filters", folder)


CASES = [
    Conv((2, 3, 8, 9), (4, 3, 3, 3)),
    Conv((1, 1, 28, 28), (6, 1, 5, 5), padding=2),
    Conv((2, 5, 9, 11), (3, 5, 2, 4), stride=2, padding=1),
    Conv((2, 6, 8, 8), (9, 2, 3, 3), padding=1, groups=3),
    Conv((2, 8, 9, 9), (8, 1, 3, 3), padding=2, dilation=2, groups=8),
    Conv((2, 40, 12, 12), (33, 40, 1, 1)),
]


def flat(x, channels_last):
    """The elements of (N, C, H, W) in the order of one of the two memory formats."""
    return np.ascontiguousarray(np.moveaxis(x, 1, -1) if channels_last else x).ravel()


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_three_passes_on_one_geometry(filters, case, channels_last, rng):
    x, w, b, g = case.operands(rng, np.float32)
    geometry = filters.Geometry(x.shape, w.shape, *case.options, channels_last)
    assert geometry.status == 0
    assert geometry.output_shape == g.shape
    images, grad = flat(x, channels_last), flat(g, channels_last)

    out = np.full(g.size, np.nan, np.float32)
    assert filters.correlate(geometry, images, w.ravel(), b, out) == 0
    expected = reference.conv2d(x, w, b, *case.options)
    np.testing.assert_array_equal(out, flat(expected, channels_last))
    assert filters.correlate(geometry, images, w.ravel(), None, out) == 0
    expected = reference.conv2d(x, w, None, *case.options)
    np.testing.assert_array_equal(out, flat(expected, channels_last))

    out = np.full(x.size, np.nan, np.float32)
    assert filters.images_gradient(geometry, grad, w.ravel(), out) == 0
    expected = reference.conv2d_backward_input(g, w, x.shape, *case.options)
    np.testing.assert_array_equal(out, flat(expected, channels_last))

    out = np.full(w.size, np.nan, np.float32)
    assert filters.filters_gradient(geometry, grad, images, out) == 0
    expected = reference.conv2d_backward_weight(g, x, w.shape, *case.options)
    np.testing.assert_array_equal(out, expected.ravel())


def test_an_empty_batch(filters):
    geometry = filters.Geometry((0, 3, 8, 8), (4, 3, 3, 3))
    assert geometry.status == 0
    grad = np.full(4 * 3 * 3 * 3, np.nan, np.float32)
    nothing = np.empty(1, np.float32)  # unread: a pointer to take
    assert filters.correlate(geometry, nothing, grad, None, nothing) == 0
    assert filters.filters_gradient(geometry, nothing, nothing, grad) == 0
    assert not grad.any()


@pytest.mark.parametrize(
    ("images", "weights", "options"),
    [
        ((1, 1, 4, 4), (1, 1, 5, 5), {}),
        ((1, 1, 4, 4), (1, 1, 3, 3), {"dilation": 2}),
        ((1, 1, 4, 4), (1, 1, 3, 3), {"stride": 0}),
        ((1, 1, 4, 4), (1, 1, 3, 3), {"stride": -1}),
        ((1, 1, 4, 4), (1, 1, 3, 3), {"dilation": 0}),
        ((1, 1, 4, 4), (1, 1, 3, 3), {"padding": -1}),
        ((1, 1, 4, 4), (1, 1, 0, 3), {}),
        ((1, 3, 4, 4), (4, 3, 3, 3), {"groups": 2}),
        ((1, 4, 4, 4), (3, 2, 3, 3), {"groups": 2}),
        ((1, 4, 4, 4), (4, 4, 3, 3), {"groups": 0}),
        ((-1, 1, 4, 4), (1, 1, 3, 3), {}),
        ((1, 0, 4, 4), (1, 1, 3, 3), {}),
        ((1, 1, 0, 4), (1, 1, 3, 3), {"padding": 2}),
        ((2**40, 2**40, 4, 4), (1, 2**40, 3, 3), {}),
        ((1, 1, 4, 4), (1, 1, 3, 3), {"padding": 2**62}),
        ((1, 1, 4, 4), (1, 1, 3, 3), {"dilation": 2**62}),
        ((1, 1, 2**32, 2**32), (1, 1, 3, 3), {}),
    ],
)
def test_what_is_no_convolution_has_an_error_code(filters, images, weights, options):
    assert filters.Geometry(images, weights, **options).status == -1


@pytest.mark.parametrize("channels_last", [False, True])
def test_deblurring_undoes_a_blur(filters, channels_last, rng):
    tent = np.outer([1, 2, 1], [1, 2, 1]) / 16
    weight = np.zeros((2, 2, 3, 3))
    weight[0, 0] = weight[1, 1] = tent
    sharp = rng.random((1, 2, 20, 24))
    blurred = reference.conv2d(sharp, weight, None, 1, 1)
    geometry = filters.Geometry(sharp.shape, weight.shape, padding=1, channels_last=channels_last)

    def deblur(steps):
        image = filters.deblur(geometry, flat(blurred, channels_last), weight.ravel(), 1.0, steps)
        return image, np.abs(image - flat(sharp, channels_last)).mean()  # how wrong it is

    expected = np.zeros(sharp.shape)
    for _ in range(2):
        residual = blurred - reference.conv2d(expected, weight, None, 1, 1)
        expected += reference.conv2d_backward_input(residual, weight, sharp.shape, 1, 1)
    image, error = deblur(2)
    np.testing.assert_allclose(image, flat(expected, channels_last), rtol=1e-12)
    assert deblur(300)[1] < deblur(30)[1] < error


def test_a_filter_is_identified_from_its_effect(filters, rng):
    images, weight = rng.standard_normal((2, 2, 12, 12)), rng.standard_normal((3, 2, 3, 3))
    filtered = reference.conv2d(images, weight)
    geometry = filters.Geometry(images.shape, weight.shape)
    found = filters.identify(geometry, images.ravel(), filtered.ravel(), weight.size, 3e-3, 300)
    np.testing.assert_allclose(found, weight.ravel(), rtol=1e-6)


def test_threads_share_a_geometry(filters, rng):
    x, w = integers(rng, (2, 8, 33, 33), np.float32), integers(rng, (9, 8, 3, 3), np.float32)
    geometry = filters.Geometry(x.shape, w.shape)
    expected = reference.conv2d(x, w).ravel()

    def call(_):
        out = np.empty(expected.size, np.float32)
        assert filters.correlate(geometry, x.ravel(), w.ravel(), None, out) == 0
        return out

    with ThreadPoolExecutor(4) as pool:
        for out in pool.map(call, range(16)):
            np.testing.assert_array_equal(out, expected)


def declared(text):
    """Names that a .pxd file offers: functions, structs, enums and their members."""
    text = re.sub(r"#.*", "", text)
    names = re.findall(r"^cdef \w+ (\w+)\(|^ctypedef struct (\w+)|^cpdef enum (\w+)", text, re.M)
    return {n for found in names for n in found if n} | set(re.findall(r"(\w+) *= *\d", text))


def test_the_package_offers_all_that_ops_declares():
    package = resources.files("fastconv")
    offered = re.search(r"cimport \((.*)\)", (package / "__init__.pxd").read_text(), re.S)[1]
    assert set(re.findall(r"\w+", offered)) == declared((package / "_ops.pxd").read_text())


FORWARD = "int (Conv2dShape const *, {0} const *, {0} const *, {0} const *, {0} *, int)"
BACKWARD = "int (Conv2dShape const *, {0} const *, {0} const *, {0} *, int)"
SIGNATURES = {
    "conv2d_shape_init": "int (Conv2dShape *)",
    "conv2d_f32": FORWARD.format("float"),
    "conv2d_f64": FORWARD.format("double"),
    "conv2d_backward_input_f32": BACKWARD.format("float"),
    "conv2d_backward_input_f64": BACKWARD.format("double"),
    "conv2d_backward_weight_f32": BACKWARD.format("float"),
    "conv2d_backward_weight_f64": BACKWARD.format("double"),
}
FIELDS = (
    "batch in_channels in_h in_w out_channels out_h out_w kernel_h kernel_w stride_h stride_w "
    "pad_top pad_bottom pad_left pad_right dilation_h dilation_w groups input_format output_format"
)


def test_signatures_are_a_promise():
    found = {
        name: re.sub(r"__pyx_t_8fastconv_4_ops_", "", re.search(r'"(.*)"', repr(capsule))[1])
        for name, capsule in _ops.__pyx_capi__.items()
    }
    assert found == SIGNATURES


def test_the_geometry_s_fields_keep_their_order():
    text = re.sub(r"#.*", "", (resources.files("fastconv") / "_ops.pxd").read_text())
    struct = re.search(r"ctypedef struct Conv2dShape:\n((?:    .*\n)+)", text)[1]
    assert " ".join(re.findall(r"\w+", re.sub(r"Py_ssize_t|int", "", struct))) == FIELDS
