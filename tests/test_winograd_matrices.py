"""docs/winograd.md's matrices are right, exactly, and they are the ones that the code uses."""

import ctypes
import doctest
import re
import shutil
import subprocess
import sys
import sysconfig
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from fastconv import reference
from fastconv._drivers import runtime

ROOT = Path(__file__).parents[1]
KERNELS = ROOT / "src" / "fastconv" / "_kernels"
PAGE = (ROOT / "docs" / "winograd.md").read_text(encoding="utf-8")
TILES = (2, 4)
DTYPES = {"f32": np.float32, "f64": np.float64}


def matrices(tile):
    """(B^T, G, A^T) of F(tile x tile, 3x3) as the page has them, arrays of Fractions."""
    (block,) = re.findall(rf"^```text\nF\({tile}x{tile}, 3x3\)\n(.*?)^```", PAGE, re.DOTALL | re.M)
    _, *parts = re.split(r"^(?:B\^T|G|A\^T)\n", block, flags=re.MULTILINE)
    return [
        np.array([[Fraction(f) for f in row.split()] for row in part.splitlines()])
        for part in parts
    ]


def nested(m, grids):
    """m @ grid @ m^T for every grid."""
    return np.array([m @ grid @ m.T for grid in grids])


def unit_grids(n):
    return np.vectorize(Fraction)(np.eye(n * n, dtype=int)).reshape(-1, n, n)


@pytest.mark.parametrize("tile", TILES)
def test_one_dimension_by_unit_vectors(tile):
    bt, g, at = matrices(tile)
    assert (bt.shape, g.shape, at.shape) == ((tile + 2,) * 2, (tile + 2, 3), (tile, tile + 2))
    for j in range(tile + 2):  # pixel, tap and output meet where pixel = output + tap
        for i in range(3):
            for p in range(tile):
                assert sum(bt[:, j] * g[:, i] * at[p]) == (j == p + i), (j, i, p)


@pytest.mark.parametrize("tile", TILES)
def test_two_dimensions_by_unit_grids(tile):
    bt, g, at = matrices(tile)
    n = tile + 2
    pixels = nested(bt, unit_grids(n)).reshape(n * n, -1)
    taps = nested(g, unit_grids(3)).reshape(9, -1)
    outputs = nested(at.T, unit_grids(tile)).reshape(tile * tile, -1)
    meetings = (taps[:, None] * outputs).reshape(-1, n * n) @ pixels.T
    meetings = meetings.reshape(3, 3, tile, tile, n, n)
    i, k, p, q, j, m = np.indices(meetings.shape)
    np.testing.assert_array_equal(meetings, (j == p + i) & (m == q + k))


@pytest.mark.parametrize("tile", TILES)
def test_three_passes_of_a_tile(tile, rng):
    bt, g, at = matrices(tile)
    d, w, grad = (rng.integers(-9, 10, (k, k)) for k in (tile + 2, 3, tile))
    u, v, z = g @ w @ g.T, bt @ d @ bt.T, at.T @ grad @ at
    x4, w4, grad4 = (a[None, None].astype(float) for a in (d, w, grad))
    forward = reference.conv2d(x4, w4)
    np.testing.assert_array_equal((at @ (u * v) @ at.T).astype(float), forward[0, 0])
    by_weight = reference.conv2d_backward_weight(grad4, x4, w4.shape)
    np.testing.assert_array_equal((g.T @ (v * z) @ g).astype(float), by_weight[0, 0])
    by_input = reference.conv2d_backward_input(grad4, w4, x4.shape)
    np.testing.assert_array_equal((bt.T @ (u * z) @ bt).astype(float), by_input[0, 0])


@pytest.mark.parametrize("tile", TILES)
def test_input_gradient_is_the_forward_pass_with_flipped_filters(tile, rng):
    bt, g, at = matrices(tile)
    w, grad = rng.integers(-9, 10, (3, 3)), rng.integers(-9, 10, (tile, tile))
    u = g @ w[::-1, ::-1] @ g.T
    v = bt @ np.pad(grad, 1) @ bt.T  # forward had padding 1, so this has 2 - 1
    shape = (1, 1, tile, tile)
    expected = reference.conv2d_backward_input(
        grad[None, None].astype(float), w[None, None].astype(float), shape, padding=1
    )
    np.testing.assert_array_equal((at @ (u * v) @ at.T).astype(float), expected[0, 0])


def test_growth_is_what_the_matrices_say():
    (table,) = re.findall(r"^\| largest growth .*\n\|.*\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    rows = re.findall(r"^\| (.*?) \| ([\d.]+) \| ([\d.]+) \|$", table, re.MULTILINE)
    shown = {name.split(",")[0]: tuple(map(float, numbers)) for name, *numbers in rows}
    growth = {}
    for tile in TILES:
        bt, g, at = matrices(tile)
        b1, g1, a1 = (abs(m).sum(axis=1) for m in (bt, g, at.T))
        whole = {
            "pixels": max(b1) ** 2,
            "filters": max(g1) ** 2,
            "gradients": max(a1) ** 2,
            "outputs": max(abs(at) @ (b1 * g1)) ** 2,
            # two points that share their terms are added before they are scaled
            "weight gradient": 2 * max(b1 * a1) * max(abs(g.T) @ (b1 * a1)),
        }
        for name, value in whole.items():
            growth.setdefault(name, []).append(float(f"{float(value):.3g}"))
    assert shown == {name: tuple(values) for name, values in growth.items()}


def test_code_on_the_page_runs():
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    session = doctest.DocTestParser().get_doctest("\n".join(blocks), {}, "winograd.md", None, 0)
    failures = []
    doctest.DocTestRunner(verbose=False).run(session, out=failures.append)
    assert session.examples
    assert not failures, "".join(failures)


def test_links_lead_to_sections():
    sections = re.findall(r"^## (.+)$", PAGE, re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", s).lower().replace(" ", "-") for s in sections}
    assert set(re.findall(r"\]\(#([^)]+)\)", PAGE)) == anchors


# ---------------------------------------------------------------- the compiled transforms

TRANSFORMS = ("input", "filter", "output", "gradient", "weight")

#: what the test calls of k_winograd.c; its fields have names, so that others may come and go
PROBE = """
#include "k_winograd.c"

__attribute__((visibility("default"))) int probe_lanes(void) { return VL; }

/* A grid of n x n vectors to m x m, or a line of n to m; 0 where there are no such tiles. */
__attribute__((visibility("default")))
int probe_transform(int axes, int tile, int which, int n, int m, const void *x, void *y) {
    const fc_size vector = VL * sizeof(real);
    const fc_grids grid = {.x = x, .x_i = n * vector, .x_j = vector,
                           .y = y, .y_i = m * vector, .y_j = vector, .count = 1};
    for (int i = 0; i < 3; i++) {
        const fc_winograd *w = &FC_NAME(winograd)[i];
        void (*const transforms[])(const fc_grids *) = {w->input, w->filter, w->output,
                                                        w->gradient, w->weight};
        if (w->tile == tile && w->axes == axes) return transforms[which](&grid), 1;
    }
    return 0;
}
"""


def compile_transforms(folder, isa, dtype):
    """k_winograd.c as setup.py has it compiled for an instruction set and dtype, by ctypes."""
    compiler = (sysconfig.get_config_var("CC") or "").split()
    if not compiler or shutil.which(compiler[0]) is None:
        pytest.skip("needs the C compiler that built Python")
    if not (ROOT / "codegen").is_dir():
        pytest.skip("needs the source tree")
    sys.path.insert(0, str(ROOT))
    from codegen import isas
    from codegen.dtypes import kernel_macros

    (found,) = (i for i in isas.INSTRUCTION_SETS if i.name == isa)
    flags = ["-O2", "-std=c11", "-ffp-contract=fast", *found.compiler_flags(msvc=False)]
    source, library = folder / "probe.c", folder / f"probe-{isa}-{dtype}.so"
    source.write_text(PROBE, encoding="utf-8")
    defines = [f"-D{name}={value}" for name, value in kernel_macros(isa, dtype).items()]
    subprocess.run(
        [*compiler, *flags, *defines, f"-I{KERNELS}", "-fPIC", "-shared", source, "-o", library],
        check=True,
    )
    return ctypes.CDLL(str(library))


def through_code(library, dtype, tile, transform, m, n):
    """What a compiled transform makes of every unit grid, [m][m][n][n]."""
    lanes = library.probe_lanes()
    scales = dtype(2) ** np.arange(lanes, dtype=dtype)  # no lane is another's
    result = np.empty((m, m, n, n), dtype)
    for i, j in np.ndindex(n, n):
        x, y = np.zeros((n, n, lanes), dtype), np.full((m, m, lanes), np.nan, dtype)
        x[i, j] = scales
        which, pointers = TRANSFORMS.index(transform), (x.ctypes.data, y.ctypes.data)
        assert library.probe_transform(2, tile, which, n, m, *map(ctypes.c_void_p, pointers))
        np.testing.assert_array_equal(y / scales, np.broadcast_to(y[..., :1], y.shape))
        result[:, :, i, j] = y[..., 0]
    return result


def scales_of_points(grids, page, axis):
    """Powers of two: what the code's matrix is the page's times, point by point.

    A transform multiplies by its matrix from both sides. What meets the place of a 1 with one of
    its two factors is the matrix itself, but for its sign, which no result depends on.
    """
    i, j = np.argwhere(page == 1)[0]
    code = grids[:, i, :, j] / np.sqrt(grids[i, i, j, j])
    with np.errstate(invalid="ignore"):
        ratio = np.nanmax(code / page, axis=1 - axis)  # 0 / 0 where both have a zero
    return np.sign(ratio) * 2.0 ** np.round(np.log2(abs(ratio)))


@pytest.mark.parametrize("real", DTYPES)
@pytest.mark.parametrize("isa", runtime.available_isas())
def test_code_uses_the_page_s_matrices(isa, real, tmp_path):
    library, dtype = compile_transforms(tmp_path, isa, real), DTYPES[real]
    for tile in TILES:
        bt, g, at = (m.astype(float) for m in matrices(tile))
        scales = {}
        for transform, page in zip(TRANSFORMS, (bt, g, at, at.T, g.T), strict=True):
            grids = through_code(library, dtype, tile, transform, *page.shape)
            axis = page.shape.index(tile + 2)  # of points: rows of B^T, G and A
            scales[transform] = scales_of_points(grids, page, axis)
            scaled = page * np.expand_dims(scales[transform], 1 - axis)
            expected = np.einsum("pi,qj->pqij", scaled, scaled)
            np.testing.assert_allclose(grids, expected, rtol=4 * np.finfo(dtype).eps, atol=0)
        # what one matrix is multiplied by, others make up for
        for of_filter, of_output in (("filter", "output"), ("gradient", "weight")):
            product = scales["input"] * scales[of_filter] * scales[of_output]
            np.testing.assert_array_equal(product * product[0], 1)


@pytest.mark.parametrize("real", DTYPES)
@pytest.mark.parametrize("isa", runtime.available_isas())
def test_lines_use_the_matrices_of_planes(isa, real, tmp_path, rng):
    """A grid is transformed by columns, then by rows; of one row that is all, but for a factor."""
    library, dtype = compile_transforms(tmp_path, isa, real), DTYPES[real]
    lanes = library.probe_lanes()
    for which, (n, m) in enumerate(((6, 6), (3, 6), (6, 4), (4, 6), (6, 3))):
        line = rng.integers(-9, 10, (n, lanes)).astype(dtype)
        matrix = np.empty((m, n), dtype)
        for j in range(n):
            x, y = np.zeros((n, lanes), dtype), np.full((m, lanes), np.nan, dtype)
            x[j] = 1
            pointers = x.ctypes.data, y.ctypes.data
            assert library.probe_transform(1, 4, which, n, m, *map(ctypes.c_void_p, pointers))
            matrix[:, j] = y[:, 0]
        grids = through_code(library, dtype, 4, TRANSFORMS[which], m, n)
        expected = np.einsum("pi,qj->pqij", matrix, matrix)
        np.testing.assert_allclose(grids, expected, rtol=4 * np.finfo(dtype).eps, atol=0)
        y = np.full((m, lanes), np.nan, dtype)
        pointers = line.ctypes.data, y.ctypes.data
        assert library.probe_transform(1, 4, which, n, m, *map(ctypes.c_void_p, pointers))
        np.testing.assert_allclose(y, matrix @ line, rtol=0, atol=300 * np.finfo(dtype).eps)
