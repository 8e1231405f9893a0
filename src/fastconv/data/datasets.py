"""The datasets: the digits that ship with the package, and the MNIST family from IDX files."""

import hashlib
import http.client
import os
import urllib.request
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastconv.data.idx import read_idx
from fastconv.data.preprocessing import check_labels
from fastconv.io import atomic_write

#: images (N, 1, H, W) of uint8, labels (N,) of int64
Examples = tuple[NDArray[np.uint8], NDArray[np.int64]]

FASHION_CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)

#: the four files of a dataset, each with the SHA-256 of the gzipped file that its authors publish
MNIST_FILES = {
    "train-images-idx3-ubyte": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}
FASHION_FILES = {
    "train-images-idx3-ubyte": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    "train-labels-idx1-ubyte": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    "t10k-images-idx3-ubyte": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    "t10k-labels-idx1-ubyte": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
}
#: folders that serve those files, tried in order
MNIST_MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
FASHION_MIRRORS = (
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
)
#: more than any of the files has; a server that sends more is cut off
DOWNLOAD_LIMIT = 64 << 20


def load_digits() -> Examples:
    """Load the 1,797 real 8x8 images of handwritten digits that ship with the package.

    Returns
    -------
    images : ndarray of uint8, shape (1797, 1, 8, 8)
        Values 0 (paper) to 16 (ink).
    labels : ndarray of int64, shape (1797,)
        0 to 9.

    References
    ----------
    E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning
    Repository, 1998, https://doi.org/10.24432/C50P49 (CC BY 4.0).

    Examples
    --------
    >>> images, labels = load_digits()
    >>> images.shape, labels[:5]
    ((1797, 1, 8, 8), array([0, 1, 2, 3, 4]))
    """
    folder = resources.files(__package__)
    with (
        resources.as_file(folder / "optdigits-images-idx3-ubyte.gz") as images,
        resources.as_file(folder / "optdigits-labels-idx1-ubyte.gz") as labels,
    ):
        return _read_examples(images, labels)


def load_mnist(
    data_dir: str | os.PathLike[str], *, download: bool = False
) -> tuple[Examples, Examples]:
    """Load MNIST, handwritten digits of 28x28 pixels, from its four IDX files.

    Parameters
    ----------
    data_dir : path
        The folder of ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte``,
        ``t10k-images-idx3-ubyte`` and ``t10k-labels-idx1-ubyte``, each as it is or with ``.gz``.
    download : bool
        Fetch the files that the folder lacks, 12 MB, and check them against known SHA-256 sums.

    Returns
    -------
    train, test : pairs of images and labels
        Images are uint8 (N, 1, 28, 28) from 0 (background) to 255, labels int64 (N,) from 0 to 9.

    Raises
    ------
    FileNotFoundError
        If a file is missing and ``download`` is false.
    OSError
        If a file cannot be read, or no server delivers it with the right checksum.
    ValueError
        If a file is damaged, or the four do not fit together.

    References
    ----------
    Y. LeCun, L. Bottou, Y. Bengio and P. Haffner, Gradient-based learning applied to document
    recognition, Proceedings of the IEEE 86 (1998).
    """
    return _load_idx_dataset(Path(data_dir), MNIST_FILES, MNIST_MIRRORS if download else ())


def load_fashion_mnist(
    data_dir: str | os.PathLike[str], *, download: bool = False
) -> tuple[Examples, Examples]:
    """Load Fashion-MNIST, photographs of clothing of 28x28 pixels, from its four IDX files.

    Parameters, returned values and errors are those of :func:`load_mnist`; the download is 31 MB.

    References
    ----------
    H. Xiao, K. Rasul and R. Vollgraf, Fashion-MNIST: a novel image dataset for benchmarking
    machine learning algorithms, arXiv:1708.07747 (2017).
    """
    return _load_idx_dataset(Path(data_dir), FASHION_FILES, FASHION_MIRRORS if download else ())


def fetch(name: str, mirrors: tuple[str, ...], folder: Path, sha256: str) -> Path:
    """Download ``name`` into ``folder`` from the first mirror whose copy has the right checksum.

    Raises
    ------
    OSError
        If no mirror delivers it.
    """
    failures = []
    for mirror in mirrors:
        try:
            with urllib.request.urlopen(mirror + name, timeout=30) as response:
                content = response.read(DOWNLOAD_LIMIT)
        except (OSError, http.client.HTTPException) as error:
            failures.append(f"{mirror}: {error}")
            continue
        found = hashlib.sha256(content).hexdigest()
        if found != sha256:
            failures.append(f"{mirror}: its SHA-256 is {found}, not {sha256}")
            continue
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(folder / name) as stream:
            stream.write(content)
        return folder / name
    raise OSError(f"cannot download {name}: " + "; ".join(failures))


def _load_idx_dataset(
    folder: Path, files: dict[str, str], mirrors: tuple[str, ...]
) -> tuple[Examples, Examples]:
    paths = [_locate(folder, name, sha256, mirrors) for name, sha256 in files.items()]
    train, test = _read_examples(*paths[:2]), _read_examples(*paths[2:])
    if train[0].shape[1:] != test[0].shape[1:]:
        raise ValueError(
            f"{folder}: training images are {train[0].shape[2:]} pixels, "
            f"test images {test[0].shape[2:]}"
        )
    return train, test


def _locate(folder: Path, name: str, sha256: str, mirrors: tuple[str, ...]) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    if not mirrors:
        raise FileNotFoundError(f"{folder} has neither {name} nor {name}.gz")
    return fetch(f"{name}.gz", mirrors, folder, sha256)


def _read_examples(images_path: Path, labels_path: Path) -> Examples:
    images: NDArray[Any] = read_idx(images_path)
    labels: NDArray[Any] = read_idx(labels_path)
    if images.dtype != np.uint8 or images.ndim != 3 or images.size == 0:
        raise ValueError(
            f"{images_path}: images must be bytes of shape (N, H, W), "
            f"got {images.dtype} of shape {images.shape}"
        )
    if labels.dtype != np.uint8 or labels.shape != images.shape[:1]:
        raise ValueError(
            f"{labels_path}: labels must be bytes of shape {images.shape[:1]}, one for each image "
            f"of {images_path.name}, got {labels.dtype} of shape {labels.shape}"
        )
    try:
        return images[:, None], check_labels(labels, num_classes=10)
    except ValueError as error:
        raise ValueError(f"{labels_path}: {error}") from error
