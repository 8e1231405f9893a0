"""The examples build against the fastconv that is imported, and compute what they say."""

import re
import shutil
import subprocess
import sys
import sysconfig
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from support.arrays import integers
from support.examples import EXAMPLES, load
from support.extensions import build

import fastconv
from fastconv import reference


def built(name, tmp_path_factory):
    folder = tmp_path_factory.mktemp("examples") / name
    shutil.copytree(EXAMPLES / name, folder, ignore=shutil.ignore_patterns("build", "*.so"))
    return build(name, folder)


def frozen(x):
    x.flags.writeable = False
    return x


# ---------------------------------------------------------------- edges: Cython


@pytest.fixture(scope="module")
def edges(tmp_path_factory):
    return built("edges", tmp_path_factory)


def edges_of(images, threshold):
    """Where the gradient is long enough, and longer than on either side of the edge."""
    smooth, change = [1, 4, 6, 4, 1], [-1, -2, 0, 2, 1]
    filters = np.array([np.outer(smooth, change), np.outer(change, smooth)], np.float32)
    dx, dy = np.moveaxis(reference.conv2d(images[:, None], filters[:, None]), 1, 0)
    size = dx**2 + dy**2
    out = np.zeros(images.shape, np.uint8)
    for i, y, x in np.argwhere(size >= (48 * threshold) ** 2):
        if 0 < y < dx.shape[1] - 1 and 0 < x < dx.shape[2] - 1:
            eighth = round(np.degrees(np.arctan2(dy[i, y, x], dx[i, y, x])) % 180 / 45) % 4
            v, u = [(0, 1), (1, 1), (1, 0), (1, -1)][eighth]
            before, after = size[i, y - v, x - u], size[i, y + v, x + u]
            out[i, y + 2, x + 2] = before < size[i, y, x] >= after
    return out


@pytest.mark.parametrize("shape", [(3, 24, 31), (1, 7, 7), (2, 5, 9), (2, 9, 5), (1, 6, 40)])
@pytest.mark.parametrize("threshold", [0.5, 4])
def test_edges_equal_reference(edges, shape, threshold, rng):
    images = integers(rng, shape, np.float32, limit=8)
    found = edges.detect(frozen(images), threshold)
    np.testing.assert_array_equal(found, edges_of(images, threshold))
    assert found.dtype == np.uint8
    assert found.any() == (min(shape[1:]) > 6)


def test_step_gives_an_edge_one_pixel_wide(edges):
    images = np.zeros((2, 20, 21), np.float32)
    images[0, :, 9:] = 1
    images[1, 12:] = 1
    upright, level = edges.detect(images, 0.5)
    expected = np.zeros_like(upright)
    expected[3:-3, 8] = 1
    np.testing.assert_array_equal(upright, expected)
    expected[:] = 0
    expected[11, 3:-3] = 1
    np.testing.assert_array_equal(level, expected)
    assert not edges.detect(images, 1.001).any()


def test_edges_are_the_same_for_any_number_of_threads(edges, rng):
    images = rng.standard_normal((9, 40, 50)).astype(np.float32)
    expected = edges.detect(images, 0.5, num_threads=1)
    assert 0.1 < expected.mean() < 0.5
    for threads in (-1, 2, 3, 4, 64):
        found = edges.detect(images, 0.5, num_threads=threads)
        np.testing.assert_array_equal(found, expected)
    with fastconv.threads(3):
        np.testing.assert_array_equal(edges.detect(images, 0.5), expected)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: edges.detect(images, 0.5, num_threads=2), range(12)):
            np.testing.assert_array_equal(found, expected)


def test_edges_of_an_empty_batch_are_empty(edges):
    assert edges.detect(np.empty((0, 8, 9), np.float32), 1).shape == (0, 8, 9)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, 9, 9)), "dtype mismatch"),
        (np.zeros((9, 9), np.float32), "number of dimensions"),
        (np.zeros((2, 9, 9), np.float32).T, "not C-contiguous"),
        (np.zeros((2, 4, 9), np.float32), "kernel spans more"),
        (np.zeros((0, 9, 4), np.float32), "kernel spans more"),
        (np.zeros((2, 0, 9), np.float32), "at least 1"),
    ],
)
def test_edges_refuse_invalid_arguments(edges, images, message):
    with pytest.raises(ValueError, match=message):
        edges.detect(images, 1)


# ---------------------------------------------------------------- peaks: C


@pytest.fixture(scope="module")
def peaks(tmp_path_factory):
    return built("peaks", tmp_path_factory)


def peaks_of(image, template, threshold):
    h, w = template.shape
    sides = (((h - 1) // 2, h // 2), ((w - 1) // 2, w // 2))
    response = reference.conv2d(np.pad(image, sides)[None], template[None, None])
    _, indices = reference.max_pool2d(response, 3, 1, 1, return_indices=True)
    pixels = np.flatnonzero(indices.ravel() == np.arange(image.size))
    found = [(*divmod(int(i), image.shape[1]), response.flat[i]) for i in pixels]
    return [(y, x, value) for y, x, value in found if value > threshold]


@pytest.mark.parametrize("image", [(30, 41), (1, 1), (2, 50), (64, 64)])
@pytest.mark.parametrize("template", [(1, 1), (3, 3), (5, 7), (4, 2), (9, 9)])
def test_peaks_equal_reference(peaks, image, template, rng):
    image = integers(rng, image, np.float32, limit=2)  # small: with equal neighbours
    template = integers(rng, template, np.float32, limit=2)
    find = peaks.Finder(frozen(template))
    for threshold in (-np.inf, 5):
        found = find(frozen(image), threshold)
        assert found == peaks_of(image, template, threshold)
    assert find(image, threshold=np.inf) == []


def test_finder_finds_copies_of_its_template(peaks, rng):
    y, x = np.mgrid[-3:4, -3:4]
    star = np.exp(-(x**2 + y**2) / 4).astype(np.float32)
    places = [(8, 9), (20, 31), (20, 44), (51, 5)]
    image = 0.01 * rng.standard_normal((60, 70)).astype(np.float32)
    for row, column in places:
        image[row - 3 : row + 4, column - 3 : column + 4] += star
    find = peaks.Finder(template=star)
    del star  # the finder has a copy
    assert [peak[:2] for peak in find(image, 3)] == places


def test_threads_can_share_a_finder(peaks, rng):
    template = integers(rng, (3, 3), np.float32)
    images = [integers(rng, (20 + i, 90), np.float32) for i in range(12)]
    find = peaks.Finder(template)
    with ThreadPoolExecutor(4) as pool:
        for image, found in zip(images, pool.map(lambda x: find(x, 40), images), strict=True):
            assert found == peaks_of(image, template, 40)


@pytest.mark.parametrize(
    ("plane", "error", "message"),
    [
        (np.zeros((4, 4)), TypeError, "must be of float32"),
        (np.zeros((1, 4, 4), np.float32), TypeError, "2 dimensions, got format f and 3"),
        (np.zeros((4, 4), ">f4"), TypeError, "got format >f"),
        (np.zeros((4, 5), np.float32).T, ValueError, "not C-contiguous"),
        (np.zeros((0, 4), np.float32), ValueError, "at least 1"),
        (b"image", TypeError, "got format B and 1"),
        (None, TypeError, "bytes-like"),
    ],
)
def test_peaks_refuse_invalid_arguments(peaks, plane, error, message):
    find = peaks.Finder(np.ones((3, 3), np.float32))
    for call in (peaks.Finder, lambda image: find(image, 1)):
        with pytest.raises(error, match=message):
            call(plane)


def test_finders_leak_no_arrays_or_memory(peaks, rng):
    """Neither arrays nor memory, whether a call succeeds or fails."""
    image, template = rng.random((200, 300), np.float32), np.ones((3, 3), np.float32)
    wrong, empty = np.ones((200, 300)), np.ones((0, 3), np.float32)
    arrays = image, template, wrong, empty

    def use():
        find = peaks.Finder(template)
        assert len(find(image, 0)) > 3000
        for plane in (wrong, empty):
            with pytest.raises((TypeError, ValueError)):
                peaks.Finder(plane)
            with pytest.raises((TypeError, ValueError)):
                find(plane, 1)

    use()
    tracemalloc.start()
    try:
        held = [sys.getrefcount(x) for x in (*arrays, peaks.Finder)]
        memory = tracemalloc.get_traced_memory()[0]
        use()
        use()
        assert tracemalloc.get_traced_memory()[0] - memory < image.nbytes
        assert [sys.getrefcount(x) for x in (*arrays, peaks.Finder)] == held
    finally:
        tracemalloc.stop()


@pytest.mark.skipif(sys.platform == "win32", reason="Python's headers are for other compilers")
@pytest.mark.parametrize(
    "command",
    [
        ["gcc", "-std=c11"],
        ["clang", "-std=c11"],
        ["g++", "-x", "c++", "-std=c++17"],
        ["clang++", "-x", "c++", "-std=c++17"],
    ],
    ids=lambda command: command[0],
)
def test_c_example_compiles_without_warnings(command):
    """In the example and in the header, as C and as C++."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"needs {command[0]}")
    flags = ["-Wall", "-Wextra", "-Werror", "-fsyntax-only"]
    folders = ["-isystem", sysconfig.get_path("include"), "-I", fastconv.get_include()]
    done = subprocess.run(
        [*command, *flags, *folders, EXAMPLES / "peaks" / "peaks.c"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_code_on_the_examples_page_runs(edges, peaks, monkeypatch, capsys):
    page = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    monkeypatch.setitem(sys.modules, "edges", edges)
    monkeypatch.setitem(sys.modules, "peaks", peaks)
    exec(compile(code, "README.md", "exec"), {})
    assert capsys.readouterr().out.splitlines() == re.findall(r"print\(.*# (.*)", code)


# ---------------------------------------------------------------- deblur_numba: Numba


@pytest.fixture(scope="module")
def deblur_numba():
    return load("deblur_numba")


def deblurred(seen, kernel, steps):
    seen, kernel, padding = seen[:, None], kernel[None, None], len(kernel) // 2
    images = np.full_like(seen, seen.mean())

    def back(x):
        return reference.conv2d_backward_input(x, kernel, seen.shape, 1, padding)

    weight = back(np.ones_like(seen))
    for _ in range(steps):
        images *= back(seen / reference.conv2d(images, kernel, None, 1, padding)) / weight
    return images[:, 0]


@pytest.mark.peer("numba")
@pytest.mark.parametrize("size", [1, 3, 7])
def test_deblurring_equals_reference(deblur_numba, size, rng):
    kernel = rng.uniform(0.1, 1, (size, size))
    seen = rng.uniform(0.1, 1, (3, 13, 17))
    found = deblur_numba.deblur(frozen(seen), frozen(kernel), 5)
    np.testing.assert_allclose(found, deblurred(seen, kernel, 5), rtol=1e-10)
    with ThreadPoolExecutor(4) as pool:
        for again in pool.map(lambda _: deblur_numba.deblur(seen, kernel, 5), range(8)):
            np.testing.assert_array_equal(again, found)
    whole = np.float32(8 * seen), np.float32(8 * kernel)  # converted, not read as they lie
    np.testing.assert_array_equal(
        deblur_numba.deblur(*whole, 2), deblur_numba.deblur(*map(np.float64, whole), 2)
    )


@pytest.mark.peer("numba")
def test_deblurring_script_reduces_the_error(deblur_numba, capsys):
    deblur_numba.main()
    lines = capsys.readouterr().out.splitlines()
    errors = [float(line.split()[-2]) for line in lines]
    assert len(errors) == 4
    assert sorted(errors, reverse=True) == errors
    assert errors[-1] < errors[0] / 2


@pytest.mark.peer("numba")
@pytest.mark.parametrize(
    ("seen", "kernel", "message"),
    [
        ((8, 8), (3, 3), "expected"),
        ((1, 8, 8), (3, 5), "expected"),
        ((1, 8, 8), (4, 4), "expected"),
        ((1, 0, 8), (3, 3), "at least 1"),
    ],
)
def test_deblurring_refuses_invalid_arguments(deblur_numba, seen, kernel, message):
    with pytest.raises(ValueError, match=message):
        deblur_numba.deblur(np.ones(seen), np.ones(kernel), 1)
