"""Arrays on disk: what is written comes back, and what is damaged is refused."""

import json
import struct
import sys
import tracemalloc
import zipfile

import numpy as np
import pytest

from fastconv import io as fio

ARRAYS = {
    "0.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2),
    "0.bias": np.array([0.1, -0.0, np.nan, np.inf]),
    "1.num_batches_tracked": np.array(7),
    "half": np.array([1.5], np.float16),
    "mask": np.array([True, False]),
    "bytes": np.arange(3, dtype=np.uint8),
    "empty": np.empty((0, 3), np.float32),
}
METADATA = {"classes": ["cat", "dög"], "mean": 0.1, "nested": {"none": None, "n": [1, 2]}}


@pytest.fixture(params=[".npz", ".safetensors"])
def suffix(request):
    if request.param == ".safetensors":
        pytest.importorskip("safetensors")
    return request.param


def assert_same(got, expected):
    assert got.keys() == expected.keys()
    for name in expected:
        assert got[name].dtype == expected[name].dtype, name
        assert got[name].shape == expected[name].shape, name
        assert got[name].tobytes() == expected[name].tobytes(), name


def test_saved_arrays_and_metadata_are_loaded_again(tmp_path, suffix):
    path = tmp_path / f"model{suffix}"
    fio.save(path, ARRAYS, METADATA)
    arrays, metadata = fio.load(path)
    assert_same(arrays, ARRAYS)
    assert metadata == METADATA
    assert all(array.flags.writeable for array in arrays.values())


def test_empty_dictionaries_are_saved_and_loaded(tmp_path, suffix):
    fio.save(tmp_path / f"none{suffix}", {})
    assert fio.load(str(tmp_path / f"none{suffix}")) == ({}, {})


@pytest.mark.parametrize(
    "view",
    [
        lambda a: a.T,
        lambda a: a[::-1, ::2],
        lambda a: np.asfortranarray(a),
        lambda a: a.astype(">f4"),
        lambda a: np.broadcast_to(a[0], a.shape),
    ],
)
def test_arrays_of_any_memory_layout_are_saved(tmp_path, suffix, view):
    array = view(np.random.default_rng(0).random((4, 6)).astype(np.float32))
    fio.save(tmp_path / f"a{suffix}", {"a": array})
    back = fio.load(tmp_path / f"a{suffix}")[0]["a"]
    np.testing.assert_array_equal(back, array)
    assert back.dtype == np.float32


def test_equal_content_gives_equal_files(tmp_path, suffix):
    for name in ("a", "b"):
        fio.save(tmp_path / f"{name}{suffix}", ARRAYS, METADATA)
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


def test_files_written_by_numpy_and_safetensors_load(tmp_path):
    np.savez_compressed(tmp_path / "numpy.npz", w=np.eye(3), f=np.asfortranarray(np.eye(2, 3)))
    arrays, metadata = fio.load(tmp_path / "numpy.npz")
    np.testing.assert_array_equal(arrays["w"], np.eye(3))
    np.testing.assert_array_equal(arrays["f"], np.eye(2, 3))
    assert metadata == {}
    peer = pytest.importorskip("safetensors.numpy")
    peer.save_file({"w": np.eye(3)}, tmp_path / "peer.safetensors", {"format": "pt"})
    arrays, metadata = fio.load(tmp_path / "peer.safetensors")
    np.testing.assert_array_equal(arrays["w"], np.eye(3))
    assert metadata == {}


def test_numpy_and_safetensors_read_what_is_written(tmp_path):
    fio.save(tmp_path / "a.npz", ARRAYS)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as members:
        np.testing.assert_array_equal(members["0.weight"], ARRAYS["0.weight"])
    peer = pytest.importorskip("safetensors.numpy")
    fio.save(tmp_path / "a.safetensors", ARRAYS)
    assert_same(peer.load_file(tmp_path / "a.safetensors"), ARRAYS)


def test_save_refuses_invalid_arguments(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    with pytest.raises(ValueError, match=r"\.safetensors or \.npz"):
        fio.save(tmp_path / "a.pkl", ARRAYS)
    for bad in (np.array(["a"]), np.array([object()]), np.array([1j]), np.zeros(1, "i4,f4")):
        with pytest.raises(TypeError, match="'bad'"):
            fio.save(path, {"bad": bad})
    with pytest.raises(ValueError, match="JSON"):
        fio.save(path, ARRAYS, {"array": np.ones(2)})
    assert list(tmp_path.iterdir()) == []


def test_npz_refuses_its_reserved_name(tmp_path):
    with pytest.raises(ValueError, match="'fastconv'"):
        fio.save(tmp_path / "a.npz", {"fastconv": np.ones(2)})
    assert list(tmp_path.iterdir()) == []


def test_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail():
        with fio.atomic_write(path) as stream:
            stream.write(b"half of the n")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert path.read_bytes() == b"old"


def test_missing_extra_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    with pytest.raises(ImportError, match=r"fastconv\[train\]"):
        fio.save(tmp_path / "a.safetensors", ARRAYS)


# -- damage ---------------------------------------------------------------------------------------


def test_load_refuses_other_suffixes_and_missing_files(tmp_path):
    with pytest.raises(ValueError, match=r"\.safetensors or \.npz"):
        fio.load(tmp_path / "a.pt")
    with pytest.raises(FileNotFoundError):
        fio.load(tmp_path / "a.npz")


def test_truncated_files_are_refused(tmp_path, suffix):
    path = tmp_path / f"short{suffix}"
    fio.save(path, {"a": np.arange(5.0), "b": np.arange(3)}, {"k": 1})
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=f"short{suffix}"):
            fio.load(path)


def save_compressed(path, arrays, metadata):
    np.savez_compressed(path, **arrays)


@pytest.mark.parametrize(
    ("name", "save"),
    [("a.npz", fio.save), ("b.npz", save_compressed), ("c.safetensors", fio.save)],
)
def test_mutated_files_load_or_are_refused(tmp_path, name, save):
    if name.endswith(".safetensors"):
        pytest.importorskip("safetensors")
    path = tmp_path / name
    save(path, {"a": np.arange(20.0).reshape(4, 5), "b": np.arange(9, dtype=np.int32)}, {"k": [1]})
    whole = path.read_bytes()
    rng = np.random.default_rng(2)
    refusals = []
    for _ in range(400):
        mutant = bytearray(whole)
        for at in rng.integers(0, len(whole), rng.integers(1, 5)):
            mutant[at] = rng.integers(0, 256)
        path.write_bytes(mutant)
        try:
            arrays, _ = fio.load(path)
        except ValueError as error:
            refusals.append(str(error))
        else:
            assert all(array.nbytes <= len(whole) for array in arrays.values())
    assert len(refusals) > 100
    assert all(name in refusal for refusal in refusals)


def npy(shape, descr="<f8", payload=b"", fortran=False):
    head = repr({"descr": descr, "fortran_order": fortran, "shape": shape}).encode()
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(head)) + head + payload


@pytest.mark.parametrize(
    ("content", "wrong"),
    [
        (npy((2**62, 2**62)), "takes"),
        (npy((3,), payload=bytes(23)), "takes 24 bytes, and 23 follow"),
        (npy((3,), payload=bytes(25)), "takes 24 bytes, and 25 follow"),
        (npy((-1, -3), payload=bytes(24)), "takes"),
        (npy((1,), "|O", bytes(8)), "object"),
        (npy((1,), "<U2", bytes(8)), "not numeric"),
        (npy((1,), [("a", "<f8")], bytes(8)), "not numeric"),
        (npy((1,) * 65, payload=bytes(8)), ""),
        (npy("(1,)", payload=bytes(8)), ""),
        (b"\x93NUMPY\3\0" + npy((1,), payload=bytes(8))[8:], "version"),
        (b"cos\nsystem\n(S'true'\ntR.", ""),
        (b"", ""),
    ],
)
def test_malformed_npy_headers_are_refused(tmp_path, content, wrong):
    (tmp_path / "bad.npy").write_bytes(content)
    with pytest.raises(ValueError, match="bad.npy.*" + wrong):
        fio.load_array(tmp_path / "bad.npy")
    with zipfile.ZipFile(tmp_path / "bad.npz", "w") as archive:
        archive.writestr("a.npy", content)
    with pytest.raises(ValueError, match="bad.npz.*" + wrong):
        fio.load(tmp_path / "bad.npz")


@pytest.mark.parametrize("array", [np.array(3.0), np.ones((2, 3), ">i2"), np.ones((2, 3)).T])
def test_load_array_reads_npy(tmp_path, array):
    np.save(tmp_path / "a.npy", array)
    got = fio.load_array(tmp_path / "a.npy")
    np.testing.assert_array_equal(got, array)
    assert got.dtype.isnative


def test_decompression_bomb_is_refused_before_it_is_expanded(tmp_path):
    # 50 MiB of zeros in 50 kB, refused by the size that it declares
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", npy((50 << 17,), payload=bytes(50 << 20)))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="limit is 1000000"):
            fio.load(path, max_expanded=1_000_000)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()
    assert fio.load(path)[0]["a"].nbytes == 50 << 20


def test_declared_size_beyond_the_stream_is_refused(tmp_path):
    # the directory declares 800 bytes more than the deflated stream gives
    path = tmp_path / "liar.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", npy((100,)))
        info = archive.infolist()[0]
        info.file_size += 800
    with pytest.raises(ValueError, match=r"liar\.npz"):
        fio.load(path)


def test_members_with_shared_bytes_or_equal_names_are_refused(tmp_path):
    content = npy((10,), payload=bytes(80))
    path = tmp_path / "shared.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a0.npy", content)
        for i in range(1, 50):
            copy = zipfile.ZipInfo(f"a{i}.npy")
            first = archive.infolist()[0]
            copy.header_offset, copy.CRC = first.header_offset, first.CRC
            copy.compress_size = copy.file_size = first.file_size
            archive.filelist.append(copy)
    with pytest.raises(ValueError, match="claim"):
        fio.load(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", content)
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a.npy", content)
    with pytest.raises(ValueError, match="same name"):
        fio.load(path)


def test_other_compression_methods_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a.npy", npy((10,), payload=bytes(80)))
    with pytest.raises(ValueError, match="stored nor deflated"):
        fio.load(tmp_path / "a.npz")


def safetensors_bytes(header, payload=b""):
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + payload


@pytest.mark.parametrize(
    "content",
    [
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 50) + b"{}",
        safetensors_bytes({"a": {"dtype": "F64", "shape": [2**40], "data_offsets": [0, 2**43]}}),
        safetensors_bytes(
            {"a": {"dtype": "F64", "shape": [2**62, 4], "data_offsets": [0, 0]}}, bytes(8)
        ),
        safetensors_bytes({"a": {"dtype": "F64", "shape": [1], "data_offsets": [8, 0]}}, bytes(8)),
        safetensors_bytes({"a": {"dtype": "F64", "shape": [2], "data_offsets": [0, 8]}}, bytes(8)),
        safetensors_bytes({"a": {"dtype": "BF16", "shape": [1], "data_offsets": [0, 2]}}, bytes(2)),
        safetensors_bytes({"__metadata__": {"fastconv": "[1]"}}),
        safetensors_bytes({"__metadata__": {"fastconv": "{"}}),
        safetensors_bytes({"__metadata__": {"fastconv": "[" * 10**5}}),
    ],
)
def test_malformed_safetensors_are_refused(tmp_path, content):
    pytest.importorskip("safetensors")
    (tmp_path / "bad.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match=r"bad\.safetensors"):
        fio.load(tmp_path / "bad.safetensors")


def test_checksum_of_a_member_is_checked(tmp_path):
    path = tmp_path / "a.npz"
    fio.save(path, {"a": np.arange(100.0)})
    content = bytearray(path.read_bytes())
    content[content.index(np.float64(50).tobytes())] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="CRC"):
        fio.load(path)
