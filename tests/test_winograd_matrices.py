"""docs/winograd.md's matrices are right, exactly, and they are the ones that the code uses."""

import doctest
import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from fastconv import _ops, reference

PAGE = (Path(__file__).parents[1] / "docs" / "winograd.md").read_text(encoding="utf-8")
TILES = (2, 4)


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
def test_one_dimensional_identity_holds_for_unit_vectors(tile):
    bt, g, at = matrices(tile)
    assert (bt.shape, g.shape, at.shape) == ((tile + 2,) * 2, (tile + 2, 3), (tile, tile + 2))
    for j in range(tile + 2):  # pixel, tap and output meet where pixel = output + tap
        for i in range(3):
            for p in range(tile):
                assert sum(bt[:, j] * g[:, i] * at[p]) == (j == p + i), (j, i, p)


@pytest.mark.parametrize("tile", TILES)
def test_two_dimensional_identity_holds_for_unit_grids(tile):
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
def test_matrices_give_all_three_passes(tile, rng):
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


def test_growth_table_follows_from_the_matrices():
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


@pytest.mark.parametrize("tile", TILES)
def test_code_uses_the_matrices_of_the_page(tile):
    pages = [m.astype(float) for m in matrices(tile)]
    codes = _ops.winograd_matrices(tile)
    scale = np.ones(tile + 2)
    for page, code in zip((pages[0], pages[1], pages[2].T), (*codes[:2], codes[2].T), strict=True):
        assert code.shape == page.shape
        np.testing.assert_array_equal(code == 0, page == 0)
        with np.errstate(invalid="ignore"):
            ratio = np.nanmax(code / page, axis=1)  # of a row; 0 / 0 where both have a zero
        ratio = np.sign(ratio) * 2.0 ** np.round(np.log2(abs(ratio)))
        np.testing.assert_allclose(code, ratio[:, None] * page, rtol=1e-15)
        scale *= ratio
    np.testing.assert_array_equal(scale, 1)  # what one matrix is multiplied by, others make up for


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
