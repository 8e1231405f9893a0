"""The IDX format of the MNIST family: a magic number, big-endian sizes, then the values."""

import gzip
import math
import os
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from fastconv.io import in_native_order, read_exactly, refuse_damage

#: the third byte of the magic number
DTYPES: dict[int, np.dtype[Any]] = {
    0x08: np.dtype(np.uint8),
    0x09: np.dtype(np.int8),
    0x0B: np.dtype(">i2"),
    0x0C: np.dtype(">i4"),
    0x0D: np.dtype(">f4"),
    0x0E: np.dtype(">f8"),
}


def read_idx(path: str | os.PathLike[str], *, max_bytes: int = 2**30) -> NDArray[Any]:
    """Read an IDX file, gzipped or not.

    Nothing is allocated on the word of the header alone: a plain file must have exactly the size
    that its header declares, and a gzipped one is expanded to that size and no further.

    Parameters
    ----------
    path : path
        The file. Compression is told by the content, not by the name.
    max_bytes : int
        The largest array, in bytes, that is read.

    Returns
    -------
    ndarray
        Of the declared shape and type, in native byte order.

    Raises
    ------
    OSError
        If the file cannot be opened.
    ValueError
        If it is not IDX, is truncated, damaged, followed by other bytes or too large.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "labels-idx1-ubyte")
    ...     _ = file.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 8, 9]))
    ...     read_idx(file)
    array([7, 8, 9], dtype=uint8)
    """
    path = Path(path)
    with path.open("rb") as file:
        gzipped = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        stream = cast(IO[bytes], gzip.GzipFile(fileobj=file)) if gzipped else file
        with refuse_damage(path):
            return _read(stream, max_bytes)


def _read(stream: IO[bytes], max_bytes: int) -> NDArray[Any]:
    magic = read_exactly(stream, 4)
    if magic[:2] != b"\0\0" or magic[2] not in DTYPES:
        raise ValueError(f"it starts with {magic.hex(' ')}, which is no IDX magic number")
    dtype, rank = DTYPES[magic[2]], magic[3]
    sizes = read_exactly(stream, 4 * rank)
    shape = tuple(int.from_bytes(sizes[i : i + 4], "big") for i in range(0, 4 * rank, 4))
    declared = math.prod(shape) * dtype.itemsize
    if declared > max_bytes:
        raise ValueError(f"shape {shape} takes {declared} bytes; the limit is {max_bytes}")
    content = read_exactly(stream, declared)
    # reading on to the end is also what makes gzip check its checksum
    if stream.read(1):
        raise ValueError(f"more bytes follow the {declared} that shape {shape} takes")
    return in_native_order(np.frombuffer(content, dtype)).reshape(shape)
