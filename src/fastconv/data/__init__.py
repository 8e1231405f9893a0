"""Datasets and what is done to them before a network sees them."""

from fastconv.data.augment import random_flip, random_shift
from fastconv.data.datasets import load_digits, load_fashion_mnist, load_mnist
from fastconv.data.idx import read_idx
from fastconv.data.images import load_images
from fastconv.data.preprocessing import Standardizer, class_weights, normalize, one_hot
from fastconv.data.sampling import balanced_indices, batches, stratified_split

__all__ = [
    "Standardizer",
    "balanced_indices",
    "batches",
    "class_weights",
    "load_digits",
    "load_fashion_mnist",
    "load_images",
    "load_mnist",
    "normalize",
    "one_hot",
    "random_flip",
    "random_shift",
    "read_idx",
    "stratified_split",
]
