"""Datasets, preprocessing, sampling and augmentation."""

import gzip
import hashlib
import math
import struct
import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastconv import data
from fastconv.data import datasets


def gzipped(content):
    """The same bytes in every run, as pytest makes names of tests out of them."""
    return gzip.compress(content, mtime=0)


def idx_bytes(array):
    codes = {"u1": 8, "i1": 9, "i2": 11, "i4": 12, "f4": 13, "f8": 14}
    code = codes[array.dtype.str[1:]]
    head = struct.pack(f">4B{array.ndim}I", 0, 0, code, array.ndim, *array.shape)
    return head + array.astype(array.dtype.newbyteorder(">")).tobytes()


def write_dataset(folder, train=20, test=10, size=6, suffix=""):
    """The four files of the MNIST family, small, and the arrays that are in them."""
    rng = np.random.default_rng(0)
    pack = gzipped if suffix == ".gz" else bytes
    parts = []
    for name, n in (("train", train), ("t10k", test)):
        images = rng.integers(0, 256, (n, size, size), np.uint8)
        labels = rng.integers(0, 10, n, np.uint8)
        (folder / f"{name}-images-idx3-ubyte{suffix}").write_bytes(pack(idx_bytes(images)))
        (folder / f"{name}-labels-idx1-ubyte{suffix}").write_bytes(pack(idx_bytes(labels)))
        parts.append((images[:, None], labels))
    return parts


# -- IDX ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pack", [bytes, gzipped])
@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "i4", "f4", "f8"])
def test_idx_round_trip(tmp_path, dtype, pack):
    array = np.arange(-3, 21).astype(dtype).reshape(2, 3, 4)
    path = tmp_path / "file"
    path.write_bytes(pack(idx_bytes(array)))
    read = data.read_idx(path)
    np.testing.assert_array_equal(read, array)
    assert read.dtype == array.dtype
    assert read.dtype.isnative
    assert read.flags.writeable


GOOD = idx_bytes(np.arange(12, dtype=np.uint8).reshape(3, 4))


@pytest.mark.parametrize(
    ("content", "wrong"),
    [
        (b"", "ends 4 bytes early"),
        (GOOD[:6], "ends 6 bytes early"),
        (GOOD[:-1], "ends 1 bytes early"),
        (GOOD + b"\0", "more bytes follow"),
        (b"\x89PNG" + GOOD, "89 50 4e 47"),
        (b"\0\0\x07\x01" + GOOD[4:], "00 00 07 01"),
        (b"\0\0\x08\xff" + b"\xff" * 1020, "the limit is"),
        (b"\0\0\x0e\x03" + b"\xff" * 12, "the limit is"),
        (gzipped(GOOD)[:-4], "end-of-stream"),
        (gzipped(GOOD) + b"garbage", "gzip"),
        (gzipped(GOOD)[:-8] + bytes(8), "CRC"),
        (gzipped(GOOD[:-2]), "ends 2 bytes early"),
        (gzipped(GOOD + GOOD), "more bytes follow"),
        (b"\x1f\x8b\x08" + bytes(30), ""),
    ],
)
def test_malformed_idx_is_refused(tmp_path, content, wrong):
    path = tmp_path / "broken-idx"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="broken-idx.*" + wrong):
        data.read_idx(path)


def test_missing_idx_file_is_reported(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        data.read_idx(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "content",
    [
        # half a gigabyte declared, nothing there
        b"\0\0\x08\x01" + struct.pack(">I", 2**29),
        gzipped(b"\0\0\x08\x01" + struct.pack(">I", 2**29)),
        # sixteen bytes declared, a hundred million there
        gzipped(b"\0\0\x08\x01" + struct.pack(">I", 16) + bytes(10**8)),
    ],
    ids=["raw", "gzip", "bomb"],
)
def test_idx_memory_is_bounded_by_file_size_not_by_declared_size(tmp_path, content):
    path = tmp_path / "hostile"
    path.write_bytes(content)
    del content
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="hostile"):
            data.read_idx(path)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("pack", [bytes, gzipped])
def test_mutated_idx_files_load_or_are_refused(tmp_path, pack):
    rng = np.random.default_rng(1)
    good = pack(idx_bytes(np.arange(60, dtype=np.uint8).reshape(3, 4, 5)))
    path = tmp_path / "mutant"
    refusals = []
    for _ in range(300):
        mutant = bytearray(good)
        for at in rng.integers(0, len(good), rng.integers(1, 4)):
            mutant[at] = rng.integers(0, 256)
        path.write_bytes(mutant[: rng.integers(len(good) // 2, len(good) + 1)])
        try:
            data.read_idx(path)
        except ValueError as error:
            refusals.append(str(error))
    assert len(refusals) > 100
    assert all("mutant" in refusal for refusal in refusals)


# -- datasets -------------------------------------------------------------------------------------


def test_digits_are_the_uci_test_set():
    images, labels = data.load_digits()
    assert images.shape == (1797, 1, 8, 8)
    assert images.dtype == np.uint8
    assert labels.dtype == np.int64
    assert (images.min(), images.max()) == (0, 16)
    # the class counts that the dataset's own description gives
    assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


@pytest.mark.peer("sklearn")
def test_digits_equal_those_of_scikit_learn():
    from sklearn.datasets import load_digits

    peer = load_digits()
    images, labels = data.load_digits()
    np.testing.assert_array_equal(images[:, 0], peer.images)
    np.testing.assert_array_equal(labels, peer.target)


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("load", [data.load_mnist, data.load_fashion_mnist])
def test_mnist_family_from_a_folder(tmp_path, load, suffix):
    expected = write_dataset(tmp_path, suffix=suffix)
    for (images, labels), (true_images, true_labels) in zip(load(tmp_path), expected, strict=True):
        np.testing.assert_array_equal(images, true_images)
        np.testing.assert_array_equal(labels, true_labels)
        assert images.dtype == np.uint8
        assert labels.dtype == np.int64


def test_missing_file_is_named(tmp_path):
    write_dataset(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(FileNotFoundError, match="t10k-labels-idx1-ubyte"):
        data.load_mnist(tmp_path)


@pytest.mark.parametrize(
    ("name", "array", "wrong"),
    [
        ("train-images-idx3-ubyte", np.zeros((20, 6), np.uint8), r"shape \(N, H, W\)"),
        ("train-images-idx3-ubyte", np.zeros((20, 6, 6), np.int16), "bytes"),
        ("train-images-idx3-ubyte", np.zeros((0, 6, 6), np.uint8), r"\(0, 6, 6\)"),
        ("train-images-idx3-ubyte", np.zeros((20, 5, 6), np.uint8), "pixels"),
        ("train-labels-idx1-ubyte", np.zeros(19, np.uint8), "one for each image"),
        ("t10k-labels-idx1-ubyte", np.full(10, 11, np.uint8), "got 11 at index 0"),
    ],
)
def test_inconsistent_dataset_files_are_refused(tmp_path, name, array, wrong):
    write_dataset(tmp_path)
    (tmp_path / name).write_bytes(idx_bytes(array))
    with pytest.raises(ValueError, match=wrong):
        data.load_mnist(tmp_path)


class TestDownload:
    """The network's part is played by ``file:`` addresses."""

    @pytest.fixture
    def served(self, tmp_path, monkeypatch):
        """A folder that stands for the server, and the checksums of what it holds."""
        folder = tmp_path / "server"
        folder.mkdir()
        write_dataset(folder, suffix=".gz")
        sums = {
            path.name.removesuffix(".gz"): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in folder.iterdir()
        }
        files = {name: sums[name] for name in datasets.MNIST_FILES}
        monkeypatch.setattr(datasets, "MNIST_FILES", files)
        monkeypatch.setattr(datasets, "MNIST_MIRRORS", (folder.as_uri() + "/",))
        return folder

    def test_missing_files_are_downloaded(self, tmp_path, served):
        target = tmp_path / "data" / "mnist"
        train, test = data.load_mnist(target, download=True)
        assert len(train[0]) == 20
        assert len(test[0]) == 10
        assert sorted(p.name for p in target.iterdir()) == sorted(p.name for p in served.iterdir())

    def test_existing_files_are_not_downloaded_again(self, tmp_path, served):
        target = tmp_path / "data"
        data.load_mnist(target, download=True)
        for path in served.iterdir():
            path.unlink()
        data.load_mnist(target, download=True)

    def test_file_with_a_wrong_checksum_is_not_used(self, tmp_path, served):
        file = served / "train-images-idx3-ubyte.gz"
        file.write_bytes(file.read_bytes() + b"\0")
        with pytest.raises(OSError, match="SHA-256"):
            data.load_mnist(tmp_path / "data", download=True)
        assert not (tmp_path / "data").exists()

    def test_second_mirror_is_used_when_the_first_fails(self, tmp_path, served, monkeypatch):
        dead = (tmp_path / "dead").as_uri() + "/"
        monkeypatch.setattr(datasets, "MNIST_MIRRORS", (dead, *datasets.MNIST_MIRRORS))
        data.load_mnist(tmp_path / "data", download=True)

    def test_nothing_is_downloaded_by_default(self, tmp_path, served):
        with pytest.raises(FileNotFoundError, match="train-images-idx3-ubyte"):
            data.load_mnist(tmp_path / "data")


def test_published_checksums_are_sha256():
    for files in (datasets.MNIST_FILES, datasets.FASHION_FILES):
        assert list(files) == [
            "train-images-idx3-ubyte",
            "train-labels-idx1-ubyte",
            "t10k-images-idx3-ubyte",
            "t10k-labels-idx1-ubyte",
        ]
        assert all(len(bytes.fromhex(digest)) == 32 for digest in files.values())


# -- preprocessing --------------------------------------------------------------------------------


def test_normalize_scales_to_unit_range():
    images = np.array([[0, 8, 16]], np.uint8)
    np.testing.assert_array_equal(data.normalize(images, 16), np.float32([[0, 0.5, 1]]))
    assert data.normalize(images, 16, np.float64).dtype == np.float64


@pytest.mark.parametrize("bad", [[-1, 3], [3, 17], [np.nan, 3]])
def test_normalize_refuses_values_out_of_range(bad):
    with pytest.raises(ValueError, match=r"\[0, 16\]"):
        data.normalize(np.array(bad), 16)
    with pytest.raises(ValueError, match="max_value"):
        data.normalize(np.array(bad), 0)


@pytest.mark.parametrize(("per", "axes"), [("channel", (0, 2, 3)), ("feature", 0)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_standardizer_gives_mean_0_and_deviation_1(per, axes, dtype):
    rng = np.random.default_rng(0)
    train = rng.normal(3, [[[[2.0]], [[5.0]]]], (50, 2, 4, 4)).astype(dtype)
    standardizer = data.Standardizer(per).fit(train)
    out = standardizer.transform(train)
    assert out.dtype == dtype
    np.testing.assert_allclose(out.mean(axes), 0, atol=1e-6)
    np.testing.assert_allclose(out.std(axes), 1, atol=1e-5)
    # other images get the numbers of the training images, not their own
    other = np.zeros((1, 2, 4, 4), dtype)
    expected = -standardizer.mean / standardizer.scale
    np.testing.assert_allclose(
        standardizer.transform(other), np.broadcast_to(expected, other.shape), rtol=1e-5
    )


def test_standardizer_only_shifts_constant_features():
    # 0.1 is not a binary fraction: its computed deviation need not be exactly zero
    train = np.full((7, 1, 3, 3), 0.1, np.float32)
    for per in ("channel", "feature"):
        standardizer = data.Standardizer(per).fit(train)
        assert (standardizer.scale == 1).all()
        np.testing.assert_allclose(standardizer.transform(train), 0, atol=1e-8)


def test_standardizer_refuses_invalid_input():
    good = np.ones((2, 1, 3, 3), np.float32)
    with pytest.raises(ValueError, match="per"):
        data.Standardizer("image")
    with pytest.raises(RuntimeError, match="fit"):
        data.Standardizer().transform(good)
    with pytest.raises(ValueError, match="NaN"):
        data.Standardizer().fit(np.full((2, 1, 3, 3), np.nan))
    with pytest.raises(ValueError, match="empty"):
        data.Standardizer().fit(good[:0])
    with pytest.raises(TypeError, match="images must be real numbers, got complex128"):
        data.Standardizer().fit(good.astype(complex))
    fitted = data.Standardizer("feature").fit(good)
    with pytest.raises(TypeError, match="uint8"):
        fitted.transform(good.astype(np.uint8))
    with pytest.raises(ValueError, match=r"\(2, 1, 4, 4\)"):
        fitted.transform(np.ones((2, 1, 4, 4), np.float32))


def test_one_hot_marks_each_label():
    labels = np.array([3, 0, 1])
    rows = data.one_hot(labels, 4)
    assert rows.dtype == np.float32
    np.testing.assert_array_equal(rows.argmax(1), labels)
    np.testing.assert_array_equal(rows.sum(1), 1)


def test_class_weights_are_n_over_k_times_count():
    labels = np.repeat([0, 1, 2], [1, 2, 5])
    np.testing.assert_allclose(data.class_weights(labels, 3), [8 / 3, 8 / 6, 8 / 15], rtol=1e-6)
    with pytest.raises(ValueError, match="class 3"):
        data.class_weights(labels, 4)


@pytest.mark.parametrize(
    ("labels", "error", "wrong"),
    [
        ([0, 4], ValueError, r"\[0, 4\), got 4 at index 1"),
        ([0, -1], ValueError, "got -1 at index 1"),
        ([0.0, 1.0], TypeError, "float64"),
        ([0.0, np.nan], ValueError, "index 1 is NaN"),
        ([[0], [1]], ValueError, r"\(2, 1\)"),
        (["a", "b"], TypeError, "integers"),
    ],
)
def test_labels_must_be_class_indices(labels, error, wrong):
    with pytest.raises(error, match=wrong):
        data.one_hot(np.array(labels), 4)


# -- sampling -------------------------------------------------------------------------------------


@given(
    counts=st.lists(st.integers(8, 40), min_size=1, max_size=6),
    fraction=st.floats(0.2, 0.8),
    seed=st.integers(0, 99),
)
def test_stratified_split_keeps_class_proportions(counts, fraction, seed):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    train, test = data.stratified_split(labels, fraction, seed)
    np.testing.assert_array_equal(np.sort(np.r_[train, test]), np.arange(len(labels)))
    assert len(test) == round(len(labels) * fraction)
    for count, got in zip(counts, np.bincount(labels[test]), strict=True):
        assert math.floor(count * fraction) <= got <= math.ceil(count * fraction)


def test_stratified_split_follows_its_seed():
    labels = np.arange(100) % 4
    first, again, other = (data.stratified_split(labels, 0.3, seed)[1] for seed in (5, 5, 6))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_stratified_split_refuses_invalid_arguments():
    with pytest.raises(ValueError, match="class 1 has 1 examples"):
        data.stratified_split([0, 0, 0, 0, 1], 0.4)
    for fraction in (0, 1, np.nan):
        with pytest.raises(ValueError, match="test_fraction"):
            data.stratified_split([0, 0, 1, 1], fraction)


@given(
    counts=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    size=st.none() | st.integers(0, 60),
    seed=st.integers(0, 99),
)
def test_balanced_indices_draw_classes_equally(counts, size, seed):
    labels = np.repeat(np.arange(len(counts)), counts)
    drawn = data.balanced_indices(labels, size, seed)
    assert len(drawn) == (len(counts) * max(counts) if size is None else size)
    per_class = np.bincount(labels[drawn], minlength=len(counts))
    assert np.ptp(per_class) <= 1
    # within a class the numbers of draws of two examples differ by at most one
    per_example = np.bincount(drawn, minlength=len(labels))
    for label in range(len(counts)):
        assert np.ptp(per_example[labels == label]) <= 1
    np.testing.assert_array_equal(drawn, data.balanced_indices(labels, size, seed))


def test_balanced_indices_refuse_invalid_arguments():
    with pytest.raises(ValueError, match="empty"):
        data.balanced_indices(np.empty(0, int))
    with pytest.raises(ValueError, match="size"):
        data.balanced_indices([0, 1], -1)


@given(
    length=st.integers(0, 30),
    batch_size=st.integers(1, 12),
    drop_last=st.booleans(),
    seed=st.none() | st.integers(0, 9),
)
def test_batches_cover_the_data_once(length, batch_size, drop_last, seed):
    x, y = np.arange(length), -np.arange(length)
    got = list(data.batches(x, y, batch_size=batch_size, rng=seed, drop_last=drop_last))
    for a, b in got:
        np.testing.assert_array_equal(a, -b)
    sizes = [len(a) for a, _ in got]
    assert all(size == batch_size for size in sizes[:-1])
    seen = np.concatenate([a for a, _ in got]) if got else np.empty(0, int)
    if drop_last:
        assert all(size == batch_size for size in sizes)
        assert len(seen) == length - length % batch_size
        assert len(set(seen.tolist())) == len(seen)
    else:
        np.testing.assert_array_equal(np.sort(seen), x)
    if seed is None:
        np.testing.assert_array_equal(seen, x[: len(seen)])


def test_batches_shuffle_with_their_seed():
    def order(seed):
        return np.concatenate([b for (b,) in data.batches(np.arange(50), batch_size=7, rng=seed)])

    np.testing.assert_array_equal(order(1), order(1))
    assert not np.array_equal(order(1), order(2))


def test_batches_refuse_invalid_arguments_before_the_first():
    with pytest.raises(ValueError, match=r"\[3, 4\]"):
        data.batches(np.ones(3), np.ones(4), batch_size=1)
    with pytest.raises(ValueError, match="batch_size"):
        data.batches(np.ones(3), batch_size=0)
    with pytest.raises(ValueError, match="arrays"):
        data.batches(batch_size=1)


# -- augmentation ---------------------------------------------------------------------------------


def test_random_shift_moves_each_image_whole():
    images = np.zeros((400, 2, 5, 6), np.float32)
    images[:, 0, 2, 3] = 7
    images[:, 1, 1, 2] = 9
    shifted = data.random_shift(images, 2, 0)
    # both channels of an image move together, nothing is lost, nothing appears
    _, y0, x0 = np.nonzero(shifted[:, 0] == 7)
    _, y1, x1 = np.nonzero(shifted[:, 1, :, :] == 9)
    assert len(y0) == 400
    assert shifted.sum() <= images.sum()
    moves = set(zip((y0 - 2).tolist(), (x0 - 3).tolist(), strict=True))
    assert moves == {(i, j) for i in range(-2, 3) for j in range(-2, 3)}
    inside = (y0 - 2 >= -1) & (x0 - 3 >= -2)
    np.testing.assert_array_equal(y1, (y0 - 1)[inside])
    np.testing.assert_array_equal(x1, (x0 - 1)[inside])


def test_random_shift_fills_with_the_background():
    images = np.zeros((50, 1, 4, 4), np.float32)
    shifted = data.random_shift(images, 1, 0, fill=-2.5)
    assert set(np.unique(shifted)) == {-2.5, 0}
    assert shifted.dtype == np.float32
    np.testing.assert_array_equal(data.random_shift(images + 3, 0, 0, fill=1), images + 3)


def test_random_flip_mirrors_whole_images():
    images = np.random.default_rng(0).random((200, 2, 3, 4))
    flipped = data.random_flip(images, 1)
    same = (flipped == images).all((1, 2, 3))
    mirrored = (flipped == images[..., ::-1]).all((1, 2, 3))
    assert (same ^ mirrored).all()
    assert 60 < mirrored.sum() < 140
    np.testing.assert_array_equal(data.random_flip(images, 0, p=0), images)
    np.testing.assert_array_equal(data.random_flip(images, 0, p=1), images[..., ::-1])


@pytest.mark.parametrize("augment", [lambda x, rng: data.random_shift(x, 1, rng), data.random_flip])
def test_augmentation_is_seeded_and_does_not_modify_its_input(augment):
    images = np.random.default_rng(0).random((30, 1, 5, 5))
    before = images.copy()
    np.testing.assert_array_equal(augment(images, 3), augment(images, 3))
    assert not np.array_equal(augment(images, 3), augment(images, 4))
    np.testing.assert_array_equal(images, before)


def test_augmentation_refuses_invalid_arguments():
    images = np.zeros((2, 1, 4, 4))
    for call in (
        lambda: data.random_shift(images[0], 1, 0),
        lambda: data.random_flip(images[0], 0),
    ):
        with pytest.raises(ValueError, match=r"\(1, 4, 4\)"):
            call()
    for shift in (-1, 4):
        with pytest.raises(ValueError, match="max_shift"):
            data.random_shift(images, shift, 0)
    with pytest.raises(ValueError, match="p must"):
        data.random_flip(images, 0, p=1.5)


# -- pictures -------------------------------------------------------------------------------------


@pytest.fixture
def pil():
    return pytest.importorskip("PIL.Image")


def stroke(height, width):
    """A dark stroke, 0, on bright paper, 255."""
    picture = np.full((height, width), 255, np.uint8)
    picture[height // 4 : -(height // 4), width // 2 - width // 8 : width // 2 + width // 8] = 0
    return picture


def test_picture_is_inverted_to_bright_on_dark(tmp_path, pil):
    ink = stroke(32, 32)
    pil.fromarray(ink).save(tmp_path / "ink.png")
    pil.fromarray(255 - ink).save(tmp_path / "chalk.png")
    ink_image = data.load_images(tmp_path / "ink.png", (8, 8))
    chalk_image = data.load_images(tmp_path / "chalk.png", (8, 8))
    assert ink_image.shape == (1, 1, 8, 8)
    assert ink_image.dtype == np.float32
    np.testing.assert_array_equal(ink_image, chalk_image)
    assert ink_image[0, 0, 4, 4] == 1
    assert ink_image[0, 0, 0, 0] == 0
    # asked for, polarity is a matter of obedience
    as_is = data.load_images(tmp_path / "chalk.png", (8, 8), invert="no")
    np.testing.assert_array_equal(as_is, chalk_image)
    inverted = data.load_images(tmp_path / "chalk.png", (8, 8), invert="yes")
    np.testing.assert_allclose(inverted, 1 - chalk_image, atol=1e-6)


def test_picture_of_the_right_size_is_not_resampled(tmp_path, pil):
    pixels = np.random.default_rng(0).integers(0, 100, (28, 28), np.uint8)
    pil.fromarray(pixels).save(tmp_path / "a.png")
    np.testing.assert_array_equal(
        data.load_images(tmp_path / "a.png", (28, 28))[0, 0], data.normalize(pixels)
    )


def test_picture_is_padded_to_its_shape_not_stretched(tmp_path, pil):
    pil.fromarray(np.full((10, 40), 255, np.uint8)).save(tmp_path / "a.png")
    picture = data.load_images(tmp_path / "a.png", (8, 8), invert="no")
    np.testing.assert_array_equal(picture, 1)
    bar = np.zeros((10, 40), np.uint8)
    bar[3:7, 5:35] = 255
    pil.fromarray(bar).save(tmp_path / "b.png")
    image = data.load_images(tmp_path / "b.png", (8, 8))[0, 0]
    assert image[:3].max() == 0
    assert image[5:].max() == 0
    assert image[3:5, 2:6].min() > 0.2


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "I;16"])
def test_every_picture_mode_loads(tmp_path, pil, mode):
    name = "a.jpg" if mode == "CMYK" else "a.png"
    if mode == "I;16":
        picture = pil.fromarray(stroke(32, 32).astype(np.uint16) * 257)
    else:
        picture = pil.fromarray(stroke(32, 32)).convert("RGB").convert(mode)
    picture.save(tmp_path / name)
    image = data.load_images(tmp_path / name, (8, 8))[0, 0]
    assert image[4, 4] > 0.95
    assert image[0, 0] < 0.05


def test_transparent_pixels_count_as_background(tmp_path, pil):
    pixels = np.zeros((16, 16, 4), np.uint8)
    pixels[4:12, 6:10, 3] = 255  # black and opaque on transparent black
    pil.fromarray(pixels).save(tmp_path / "a.png")
    image = data.load_images(tmp_path / "a.png", (8, 8))[0, 0]
    assert image[4, 4] == 1
    assert image[0, 0] == 0


def test_exif_orientation_is_applied(tmp_path, pil):
    pixels = np.zeros((32, 32), np.uint8)
    pixels[:8] = 255
    exif = pil.Exif()
    exif[0x0112] = 6  # the camera was held sideways
    pil.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    image = data.load_images(tmp_path / "a.png", (8, 8), invert="no")[0, 0]
    assert image[:, -1].min() > 0.9
    assert image[:, 0].max() < 0.1


@pytest.mark.parametrize("shape", [(8, 8), (3, 8, 8), (3, 1, 8, 8), (1, 8, 8)])
def test_image_arrays_load_unchanged(tmp_path, shape):
    raw = np.random.default_rng(0).integers(0, 17, shape)
    n = 1 if len(shape) == 2 else shape[0]
    for array in (raw, raw.astype(np.uint8), raw / 16):
        np.save(tmp_path / "a.npy", array)
        images = data.load_images(tmp_path / "a.npy", (8, 8), max_value=16)
        np.testing.assert_allclose(images, (raw / 16).reshape(n, 1, 8, 8), rtol=1e-6)
        assert images.dtype == np.float32


@pytest.mark.parametrize(
    ("array", "wrong"),
    [
        (np.zeros((8, 7)), r"\(8, 7\)"),
        (np.zeros((2, 3, 8, 8)), r"\(2, 3, 8, 8\)"),
        (np.zeros((0, 8, 8)), r"\(0, 8, 8\)"),
        (np.zeros((1, 1, 1, 8, 8)), "must have shape"),
        (np.full((8, 8), 17), r"\[0, 16\]"),
        (np.full((8, 8), 1.5), r"\[0, 1\]"),
        (np.full((8, 8), np.nan), r"\[0, 1\]"),
        (np.full((8, 8), "x"), "not numeric"),
    ],
)
def test_arrays_of_another_shape_or_range_are_refused(tmp_path, array, wrong):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(ValueError, match=r"a\.npy.*" + wrong):
        data.load_images(tmp_path / "a.npy", (8, 8), max_value=16)


def test_files_that_are_not_pictures_are_refused(tmp_path, pil):
    path = tmp_path / "a.png"
    with pytest.raises(FileNotFoundError):
        data.load_images(path, (8, 8))
    with pytest.raises(ValueError, match="invert"):
        data.load_images(path, (8, 8), invert="maybe")
    pil.fromarray(stroke(32, 32)).save(path)
    whole = path.read_bytes()
    for content in (b"", b"no picture", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"a\.png"):
            data.load_images(path, (8, 8))
    # a format that is not asked for stays shut
    pil.fromarray(stroke(32, 32)).save(path, format="TIFF")
    with pytest.raises(ValueError, match=r"a\.png"):
        data.load_images(path, (8, 8))


def test_decompression_bomb_is_refused(tmp_path, pil, monkeypatch):
    monkeypatch.setattr(pil, "MAX_IMAGE_PIXELS", 1000)
    for side in (40, 60):  # Pillow only warns of the first
        pil.fromarray(stroke(side, side)).save(tmp_path / "bomb.png")
        with pytest.raises(ValueError, match="bomb"):
            data.load_images(tmp_path / "bomb.png", (8, 8))


def test_mutated_pictures_load_or_are_refused(tmp_path, pil, monkeypatch):
    # quick to decode, whatever size a mutant claims
    monkeypatch.setattr(pil, "MAX_IMAGE_PIXELS", 10_000)
    rng = np.random.default_rng(0)
    for name in ("a.png", "a.jpg"):
        path = tmp_path / name
        pil.fromarray(rng.integers(0, 256, (20, 20), np.uint8)).save(path)
        whole = path.read_bytes()
        for _ in range(100):
            mutant = bytearray(whole)
            for at in rng.integers(0, len(whole), rng.integers(1, 5)):
                mutant[at] = rng.integers(0, 256)
            path.write_bytes(mutant)
            try:
                image = data.load_images(path, (8, 8))
            except ValueError:
                continue
            assert image.min() >= 0
            assert image.max() <= 1


def test_missing_pillow_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(ImportError, match=r"fastconv\[train\]"):
        data.load_images(tmp_path / "a.png", (8, 8))
