"""Layers, containers and losses, in the manner of ``torch.nn``, on NumPy arrays.

>>> import numpy as np
>>> from fastconv import nn, optim
>>> rng = np.random.default_rng(0)
>>> model = nn.Sequential(nn.Conv2d(1, 8, 3, rng=rng), nn.ReLU(), nn.Flatten(),
...                       nn.Linear(8 * 6 * 6, 10, rng=rng))
>>> criterion = nn.CrossEntropyLoss()
>>> optimizer = optim.SGD(model.parameters(), lr=0.1)
>>> x = rng.random((16, 1, 8, 8), dtype=np.float32)
>>> target = rng.integers(0, 10, 16)
>>> losses = []
>>> for _ in range(5):
...     losses.append(criterion(model(x), target))
...     grad_x = model.backward(criterion.backward())
...     optimizer.step()
...     model.zero_grad()
>>> losses[-1] < losses[0]
True
"""

from fastconv.nn import models
from fastconv.nn.activation import (
    GELU,
    LeakyReLU,
    LogSoftmax,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Tanh,
)
from fastconv.nn.containers import Concat, Residual, Sequential
from fastconv.nn.conv import Conv2d, packed
from fastconv.nn.dropout import Dropout
from fastconv.nn.linear import Linear
from fastconv.nn.losses import BCEWithLogitsLoss, CrossEntropyLoss, Loss, MSELoss
from fastconv.nn.module import IncompatibleKeys, Module, Parameter, is_grad_enabled, no_grad
from fastconv.nn.norm import BatchNorm2d
from fastconv.nn.pool import (
    AdaptiveAvgPool2d,
    AdaptiveMaxPool2d,
    AvgPool2d,
    GlobalAvgPool2d,
    MaxPool2d,
)
from fastconv.nn.shape import Flatten, Identity

__all__ = [
    "GELU",
    "AdaptiveAvgPool2d",
    "AdaptiveMaxPool2d",
    "AvgPool2d",
    "BCEWithLogitsLoss",
    "BatchNorm2d",
    "Concat",
    "Conv2d",
    "CrossEntropyLoss",
    "Dropout",
    "Flatten",
    "GlobalAvgPool2d",
    "Identity",
    "IncompatibleKeys",
    "LeakyReLU",
    "Linear",
    "LogSoftmax",
    "Loss",
    "MSELoss",
    "MaxPool2d",
    "Module",
    "Parameter",
    "ReLU",
    "Residual",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Tanh",
    "is_grad_enabled",
    "models",
    "no_grad",
    "packed",
]
