"""Arrays on disk: safetensors and npz files that are never half written and never half read.

No reader here unpickles, and none allocates more than the file's real size warrants: every size
in a header is checked in Python integers, against the bytes that are there, before it is used.
"""

import contextlib
import json
import math
import os
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["atomic_write", "load", "load_array", "read_exactly", "refuse_damage", "save"]

Arrays = dict[str, NDArray[Any]]

#: the safetensors metadata key, and the npz member, that hold the metadata as one JSON text
METADATA = "fastconv"
#: what the compressed members of one npz file may expand to; stored members need no such limit
MAX_EXPANDED = 2**30
#: characters of an npy header, which is parsed as Python; those of 64 axes have fewer
MAX_HEADER = 2000


def save(
    path: str | os.PathLike[str],
    arrays: Mapping[str, NDArray[Any]],
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Write named arrays, a model's ``state_dict()`` say, to one file.

    The file appears whole or not at all: it is written beside ``path`` and then renamed.

    Parameters
    ----------
    path : path
        ``.safetensors`` (needs the package ``safetensors``) or ``.npz``.
    arrays : mapping of str to ndarray
        Booleans, integers or floating-point numbers, of any shape and memory layout.
    metadata : mapping, optional
        Whatever JSON can hold.

    Raises
    ------
    ValueError
        If the suffix is neither of the two, or the metadata are not JSON.
    TypeError
        If an array's dtype cannot be stored.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(folder + "/w.npz", {"weight": np.eye(2)}, {"classes": ["cat", "dog"]})
    ...     arrays, metadata = load(folder + "/w.npz")
    >>> arrays["weight"].shape, metadata
    ((2, 2), {'classes': ['cat', 'dog']})
    """
    path = Path(path)
    suffix = _suffix(path)
    ready = {name: _storable(name, array) for name, array in arrays.items()}
    try:
        text = json.dumps(dict(metadata or {}))
    except (TypeError, ValueError) as error:
        raise ValueError(f"metadata must be what JSON can hold: {error}") from error
    with atomic_write(path) as stream:
        if suffix == ".npz":
            _save_npz(stream, ready, text)
        else:
            stream.write(_safetensors().numpy.save(ready, {METADATA: text}))


def load(
    path: str | os.PathLike[str], *, max_expanded: int = MAX_EXPANDED
) -> tuple[Arrays, dict[str, Any]]:
    """Read what :func:`save` wrote, or any npz or safetensors file of plain numeric arrays.

    Parameters
    ----------
    path : path
        ``.safetensors`` (needs the package ``safetensors``) or ``.npz``.
    max_expanded : int
        The most bytes that the compressed members of an npz file may expand to.

    Returns
    -------
    arrays : dict of str to ndarray
        In native byte order, owned by the caller.
    metadata : dict
        Empty for a file that another program wrote.

    Raises
    ------
    OSError
        If the file cannot be opened.
    ValueError
        If the file is truncated, damaged or hostile, or the suffix is neither of the two.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(folder + "/weights.npz", {"bias": np.zeros(3)}, {"epoch": 7})
    ...     load(folder + "/weights.npz")
    ({'bias': array([0., 0., 0.])}, {'epoch': 7})
    """
    path = Path(path)
    read = _load_npz if _suffix(path) == ".npz" else _load_safetensors
    with path.open("rb") as stream, refuse_damage(path):
        arrays, text = read(stream, path, max_expanded)
        metadata = json.loads(text)
        if not isinstance(metadata, dict):
            raise ValueError("its metadata are not a JSON object")
    return arrays, metadata


def load_array(path: str | os.PathLike[str]) -> NDArray[Any]:
    """Read the one numeric array of an ``.npy`` file, its size checked before it is allocated.

    Parameters
    ----------
    path : path
        The file.

    Returns
    -------
    ndarray

    Raises
    ------
    OSError
        If the file cannot be opened.
    ValueError
        If the file is truncated, damaged or hostile, or holds anything but numbers.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.save(folder + "/image.npy", np.eye(2))
    ...     load_array(folder + "/image.npy")
    array([[1., 0.],
           [0., 1.]])
    """
    path = Path(path)
    with path.open("rb") as stream, refuse_damage(path):
        return _read_npy(stream, os.fstat(stream.fileno()).st_size)


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Open a binary file that replaces ``path`` when the block ends, and vanishes if it fails.

    Parameters
    ----------
    path : path
        Of the file that is to be, whole.

    Yields
    ------
    binary file
        A temporary one beside it.

    Raises
    ------
    OSError
        If the folder cannot be written to.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with atomic_write(folder + "/note") as stream:
    ...         _ = stream.write(b"whole")
    ...     Path(folder, "note").read_bytes()
    b'whole'
    """
    path = Path(path)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with unfinished.open("wb") as stream:
            yield stream
            stream.flush()
            # without this a power cut may keep the new name and lose the bytes
            os.fsync(stream.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def read_exactly(stream: IO[bytes], size: int) -> bytearray:
    """Read ``size`` bytes, in pieces, so that a stream that ends early costs only what it holds.

    Parameters
    ----------
    stream : binary file
        Open for reading.
    size : int
        How many bytes.

    Returns
    -------
    bytearray, of ``size`` bytes

    Raises
    ------
    ValueError
        If the stream ends early.

    Examples
    --------
    >>> import io
    >>> read_exactly(io.BytesIO(b"abc"), 5)
    Traceback (most recent call last):
        ...
    ValueError: it ends 2 bytes early
    """
    content = bytearray()
    while len(content) < size:
        piece = stream.read(min(size - len(content), 1 << 16))
        if not piece:
            raise ValueError(f"it ends {size - len(content)} bytes early")
        content += piece
    return content


def in_native_order(array: NDArray[Any]) -> NDArray[Any]:
    """The same numbers in native byte order, in the same memory.

    Parameters
    ----------
    array : ndarray
        Writeable, of any byte order.

    Returns
    -------
    ndarray
        In the memory of `array`.

    Examples
    --------
    >>> in_native_order(np.array([1, 2], ">i2"))
    array([1, 2], dtype=int16)
    """
    if not array.dtype.isnative:
        array.byteswap(inplace=True)
    return array.view(array.dtype.newbyteorder("="))


@contextlib.contextmanager
def refuse_damage(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn whatever a parser makes of a damaged file into one ValueError that names the file.

    Parameters
    ----------
    path : path
        Named in the error.

    Yields
    ------
    None

    Raises
    ------
    ValueError
        In place of whatever was raised in the block, but for MemoryError and ImportError.

    Examples
    --------
    >>> with refuse_damage("model.npz"):
    ...     raise EOFError("no more bytes")
    Traceback (most recent call last):
        ...
    ValueError: model.npz is damaged, or not what its name says: no more bytes
    """
    try:
        yield
    except (MemoryError, ImportError):
        raise
    except Exception as error:
        raise ValueError(f"{path} is damaged, or not what its name says: {error}") from error


def _suffix(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix not in (".npz", ".safetensors"):
        raise ValueError(f"path {str(path)!r} must end in .safetensors or .npz")
    return suffix


def _safetensors() -> Any:
    try:
        import safetensors.numpy
    except ImportError as error:
        raise ImportError(
            'safetensors files need the package safetensors: pip install "fastconv[train]"'
        ) from error
    return safetensors


def _storable(name: str, array: NDArray[Any]) -> NDArray[Any]:
    """``array`` as both formats want it: C-contiguous and in little-endian order."""
    array = np.asarray(array)
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        raise TypeError(f"array {name!r} has dtype {array.dtype}, which cannot be stored")
    return np.asarray(array, array.dtype.newbyteorder("<"), order="C")


def _load_safetensors(stream: IO[bytes], path: Path, _: int) -> tuple[Arrays, str]:
    # safetensors checks its header against the file's length itself, before it allocates
    with _safetensors().safe_open(path, framework="numpy") as tensors:
        names = tensors.keys()
        arrays = {name: tensors.get_tensor(name) for name in names}
        return arrays, (tensors.metadata() or {}).get(METADATA, "{}")


def _save_npz(stream: IO[bytes], arrays: Arrays, text: str) -> None:
    if METADATA in arrays:
        raise ValueError(f"arrays: the name {METADATA!r} is kept for the metadata")
    members = {**arrays, METADATA: np.frombuffer(text.encode(), np.uint8)}
    with zipfile.ZipFile(stream, "w") as archive:
        for name, array in members.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as content:
                np.lib.format.write_array(content, array, allow_pickle=False)


def _load_npz(stream: IO[bytes], path: Path, max_expanded: int) -> tuple[Arrays, str]:
    with zipfile.ZipFile(stream) as archive:
        members = archive.infolist()
        _check_members(members, os.fstat(stream.fileno()).st_size, max_expanded)
        arrays = {}
        for member in members:
            with archive.open(member) as content:
                arrays[member.filename.removesuffix(".npy")] = _read_npy(content, member.file_size)
    text = arrays.pop(METADATA, np.frombuffer(b"{}", np.uint8))
    return arrays, text.tobytes().decode()


def _check_members(members: list[zipfile.ZipInfo], file_size: int, max_expanded: int) -> None:
    """Refuse members that share names or bytes, or that expand beyond ``max_expanded``."""
    if len({member.filename for member in members}) < len(members):
        raise ValueError("two of its members have the same name")
    if any(m.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for m in members):
        raise ValueError("one of its members is neither stored nor deflated")
    stored = sum(m.file_size for m in members if m.compress_type == zipfile.ZIP_STORED)
    expanded = sum(m.file_size for m in members) - stored
    if stored > file_size:
        raise ValueError(f"its members claim {stored} bytes; the file has {file_size}")
    if expanded > max_expanded:
        raise ValueError(f"it would expand to {expanded} bytes; the limit is {max_expanded}")


def _read_npy(stream: IO[bytes], size: int) -> NDArray[Any]:
    """The array of the ``size`` bytes of .npy format in ``stream``, in native byte order."""
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        header = np.lib.format.read_array_header_1_0(stream, MAX_HEADER)
    elif version == (2, 0):
        header = np.lib.format.read_array_header_2_0(stream, MAX_HEADER)
    else:
        raise ValueError(f"npy format version {version} is not one that plain arrays use")
    shape, fortran_order, dtype = header
    if dtype.kind not in "biuf":
        raise ValueError(f"dtype {dtype} is not numeric")
    claimed = math.prod(shape) * dtype.itemsize
    actual = size - stream.tell()
    if min(shape, default=0) < 0 or claimed != actual:
        raise ValueError(
            f"shape {shape} of {dtype} takes {claimed} bytes, and {actual} follow the header"
        )
    flat = np.frombuffer(read_exactly(stream, claimed), dtype)
    return in_native_order(flat).reshape(shape, order="F" if fortran_order else "C")
