"""Damages files in many ways, and loads them: cd tests && python -m fuzz.files --mutations 10000

Each must load, or be refused with a ValueError that names the file, and take no more memory than
twice the file, or, where compressed, than twice what it holds. Of formats that keep checksums, what
loads is equal to the original.
"""

import argparse
import ast
import gzip
import io
import json
import math
import random
import struct
import sys
import tempfile
import tracemalloc
import warnings
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np

from fastconv.data import read_idx
from fastconv.io import load, save

NUMBERS = [0, 1, 2, 7, 255, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**53, 2**63 - 1, 2**63, 2**64 - 1]
# bytes for what a parser needs beside the arrays: an npy header is Python
PARSER_BYTES = 1 << 21
# bytes beyond what Python sees: address space, and what a library's own code takes
HIDDEN = 1 << 28


# ---------------------------------------------------------------- damage, to any file


def flip_bits(data, rng):
    for _ in range(rng.choice([1, 1, 2, 8])):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return data


def overwrite(data, rng):
    at = rng.choice([rng.randrange(len(data)), rng.randrange(min(64, len(data)))])
    value = rng.choice(NUMBERS).to_bytes(8, rng.choice(["little", "big"]))
    value = value[: rng.choice([1, 2, 4, 8])]
    data[at : at + len(value)] = value
    return data


def truncate(data, rng):
    return data[: rng.randrange(len(data))]


def insert(data, rng):
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.randbytes(rng.choice([1, 8, 100])) + data[at:]


def remove(data, rng):
    at = rng.randrange(len(data))
    return data[:at] + data[at + rng.choice([1, 8, 100]) :]


def swap_blocks(data, rng):
    size = rng.choice([4, 64, 1024])
    a, b = rng.randrange(len(data)), rng.randrange(len(data))
    data[a : a + size], data[b : b + size] = data[b : b + size], data[a : a + size]
    return data


def repeat(data, rng):
    at = rng.randrange(len(data))
    return data[:at] + data[at : at + rng.choice([16, 256, 4096])] * rng.choice([2, 9]) + data[at:]


def clear(data, rng):
    at, size = rng.randrange(len(data)), rng.choice([8, 512])
    data[at : at + size] = bytes(len(data[at : at + size]))
    return data


DAMAGE = [flip_bits, overwrite, truncate, insert, remove, swap_blocks, repeat, clear]


# ---------------------------------------------------------------- lies, well formed


def other_shape(shape, rng):
    shape = list(shape)
    change = rng.randrange(4)
    if change == 0 or not shape:
        shape.append(rng.choice(NUMBERS))
    elif change == 1:
        shape[rng.randrange(len(shape))] = rng.choice([-1, *NUMBERS])
    elif change == 2:
        shape.pop()
    else:
        shape = [rng.choice(NUMBERS) for _ in range(rng.choice([1, 2, 40]))]
    return shape


def edit_safetensors(data, rng):
    (size,) = struct.unpack("<Q", data[:8])
    header, content = json.loads(data[8 : 8 + size]), data[8 + size :]
    name = rng.choice([n for n in header if n != "__metadata__"])
    entry = header[name]
    change = rng.choice(["shape", "dtype", "offsets", "name", "missing", "metadata", "text"])
    if change == "shape":
        entry["shape"] = other_shape(entry["shape"], rng)
    elif change == "dtype":
        entry["dtype"] = rng.choice(["F64", "F32", "BF16", "F8_E4M3", "I64", "BOOL", "F33", ""])
    elif change == "offsets":
        entry["data_offsets"][rng.randrange(2)] = rng.choice(NUMBERS)
    elif change == "name":
        header[rng.choice(["", "a\0b", "x" * 5000, "__metadata__"])] = header.pop(name)
    elif change == "missing":
        del entry[rng.choice(list(entry))]
    elif change == "metadata":
        header["__metadata__"] = rng.choice([None, 7, {"fastconv": "{"}, {"fastconv": "[" * 5000}])
    else:
        header = rng.choice([[], {}, 7, [[[]]], {"a": {"a": {}}}])
    text = json.dumps(header).encode()
    return bytearray(struct.pack("<Q", len(text)) + text + content)


def edit_npz(data, rng):
    """Another npy header in one member, or other sizes in the directory; checksums are right."""
    members = []
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [(m.filename, archive.read(m), m.compress_type) for m in archive.infolist()]
    at = rng.randrange(len(members))
    name, content, kind = members[at]
    (length,) = struct.unpack("<H", content[8:10])
    header = ast.literal_eval(content[10 : 10 + length].decode())
    change = rng.choice(["shape", "descr", "order", "text", "member", "bomb"])
    if change == "shape":
        header["shape"] = tuple(other_shape(header["shape"], rng))
    elif change == "descr":
        header["descr"] = rng.choice(
            ["|O", "<f2", ">f8", "<c16", "|V8", "|S4", "<U9", "<M8[s]", "x"]
        )
    elif change == "order":
        header["fortran_order"] = rng.choice([True, 2, None])
    elif change == "member":
        name = rng.choice([members[0][0], "../x.npy", "a/b/.npy", "a" * 3000, "a.txt"])
    text = repr(header)
    if change == "text":
        text = rng.choice(["(" * 3000, "-" * 3000 + "1", "{}", "[]", "\0", "9" * 9000, text * 2])
    text = text.encode() + b"\n"
    content = b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text + content[10 + length :]
    if change == "bomb":
        content, kind = content + bytes(1 << 24), zipfile.ZIP_DEFLATED
    members[at] = name, content, kind
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content, kind in members:
            with warnings.catch_warnings(action="ignore"):  # of two members with one name
                archive.writestr(name, content, kind)
    data = bytearray(out.getvalue())
    if rng.random() < 0.3:  # sizes in the directory that nothing bears out
        at = data.rindex(b"PK\1\2") + rng.choice([20, 24])
        data[at : at + 4] = struct.pack("<I", rng.choice([n for n in NUMBERS if n < 2**32]))
    return data


def edit_idx(data, rng):
    """Another type, rank or size, in a gzip whose checksum is right if it was one."""
    packed = data[:2] == b"\x1f\x8b"
    content = bytearray(gzip.decompress(data)) if packed else data
    change = rng.randrange(4)
    if change == 0:
        content[2] = rng.choice([0, 7, 8, 9, 11, 12, 13, 14, 255])
    elif change == 1:
        content[3] = rng.choice([0, 1, 2, 3, 4, 255])
    elif change == 2:
        at = 4 + 4 * rng.randrange(3)
        content[at : at + 4] = struct.pack(">I", rng.choice([n for n in NUMBERS if n < 2**32]))
    else:
        content += bytes(rng.choice([1, 1000, 1 << 24 if packed else 1000]))
    return bytearray(gzip.compress(content, 1, mtime=0)) if packed else content


# ---------------------------------------------------------------- files


def originals(folder, formats):
    """(format, path, bytes, how to load, how to lie, whether it keeps checksums)."""
    rng = np.random.default_rng(0)
    arrays = {
        "layer.weight": rng.standard_normal((40, 30, 3, 3)).astype(np.float32),
        "layer.bias": rng.standard_normal(40),
        "steps": np.array(7),
        "labels": rng.integers(0, 99, (5, 7)).astype(">i4"),
    }
    read = {"npz": lambda p: load(p)[0], "idx": lambda p: {"": read_idx(p)}}
    read |= dict.fromkeys(["compressed npz", "safetensors"], read["npz"])
    read |= dict.fromkeys(["gzipped idx", "big-endian idx"], read["idx"])
    lie = {"safetensors": edit_safetensors, "npz": edit_npz, "compressed npz": edit_npz}
    for name in formats:
        path = folder / ("file.safetensors" if name == "safetensors" else "file." + name[-3:])
        if name == "compressed npz":
            np.savez_compressed(path, **arrays)
        elif name.endswith("idx"):
            wide = name.startswith("big")
            images = rng.integers(0, 99, (50, 28, 28)).astype(">i4" if wide else np.uint8)
            data = bytes([0, 0, 12 if wide else 8, 3]) + struct.pack(">3I", *images.shape)
            data += images.tobytes()
            path.write_bytes(gzip.compress(data, mtime=0) if name.startswith("gz") else data)
        else:
            save(path, arrays, {"epoch": 3})
        checked = name.endswith("npz") or name.startswith("gz")
        yield name, path, path.read_bytes(), read[name], lie.get(name, edit_idx), checked


def equal(a, b):
    return a.keys() == b.keys() and all(
        a[n].dtype == b[n].dtype and np.array_equal(a[n], b[n]) for n in a
    )


def fuzz(path, original, read, lie, checked, mutations, seed):
    """How many of each outcome, after so many mutations."""
    outcomes = Counter()
    expected = read(path)
    for n in range(mutations):
        rng = random.Random(f"{seed} {path.name} {n}")
        mutate = rng.choice([*DAMAGE, lie, lie])
        data = mutate(bytearray(original), rng)
        if rng.random() < 0.1:
            data = rng.choice(DAMAGE)(data, rng) if data else data
        path.write_bytes(data)
        named = True
        tracemalloc.start()
        try:
            arrays = read(path)
        except ValueError as error:
            arrays = {}
            named = str(path) in str(error)
            outcomes["refused"] += 1
        else:
            outcomes["loaded"] += 1
        finally:
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
        held = sum(a.nbytes for a in arrays.values())
        size = max(len(data), held)
        what = f"mutation {n} ({mutate.__name__}) of {path.name}, seed {seed}"
        assert named, f"{what}: the error does not name the file"
        assert peak <= 2 * size + PARSER_BYTES, f"{what}: {peak} bytes for {size}"
        if not checked:
            assert held <= len(data), f"{what}: {held} bytes of arrays from {len(data)}"
        elif arrays and mutate is not lie:
            assert equal(arrays, expected), f"{what}: other numbers"
    path.write_bytes(original)
    assert equal(read(path), expected)
    return outcomes


def limit_memory():
    """A bound, where the system has one, for what is not Python's memory to count."""
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except (ImportError, OSError):
        return
    limit = pages * resource.getpagesize() + HIDDEN
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mutations", type=int, default=10_000, help="of all files together")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    formats = ["safetensors", "npz", "compressed npz", "idx", "gzipped idx", "big-endian idx"]
    try:
        import safetensors.numpy  # noqa: F401
    except ImportError:
        formats.remove("safetensors")
    each = math.ceil(options.mutations / len(formats))
    with tempfile.TemporaryDirectory() as folder:
        files = list(originals(Path(folder), formats))
        limit_memory()
        for name, path, original, read, lie, checked in files:
            path.write_bytes(original)
            outcomes = fuzz(path, original, read, lie, checked, each, options.seed)
            print(f"{name}: {each} mutations, {dict(outcomes)}")


if __name__ == "__main__":
    sys.exit(main())
