"""Layers, containers and losses, in the manner of ``torch.nn``, on NumPy arrays and Tensors.

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
...     loss = criterion(model(x), target)
...     loss.backward()
...     optimizer.step()
...     model.zero_grad()
...     losses.append(loss.item())
>>> losses[-1] < losses[0]
True
"""
# ruff: noqa: F403

import types
from typing import TYPE_CHECKING

from fastconv.nn import models as models
from fastconv.nn.activation import *
from fastconv.nn.adaptive_pool import *
from fastconv.nn.containers import *
from fastconv.nn.conv import *
from fastconv.nn.conv_transpose import *
from fastconv.nn.dropout import *
from fastconv.nn.linear import *
from fastconv.nn.losses import *
from fastconv.nn.module import *
from fastconv.nn.norm import *
from fastconv.nn.pool import *
from fastconv.nn.shape import *
from fastconv.nn.unpool import *

# What is public is said once, in the `__all__` of each module. Type checkers take a star import
# for a re-export; an `__all__` that they cannot read hides it.
if not TYPE_CHECKING:
    __all__ = sorted(n for n, v in globals().items() if isinstance(v, type | types.FunctionType))
    __all__ += ["models"]
