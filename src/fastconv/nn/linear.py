"""The fully connected layer."""

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from fastconv import functional as F
from fastconv import init
from fastconv._arguments import generator, whole
from fastconv.init import Rng
from fastconv.nn.module import Module, Parameter

__all__ = ["Linear"]


class Linear(Module):
    """y = x Wᵀ + b over the last axis, with learned weight and bias.

    Parameters
    ----------
    in_features, out_features : int
        Sizes of the last axis of the input and of the output.
    bias : bool
        Whether to add b.
    dtype : dtype
        float32 or float64, of the parameters and of the input.
    rng : numpy.random.Generator, int or None
        Where the initial weights come from: :func:`fastconv.init.default_weight`.

    Attributes
    ----------
    weight : Parameter
        (out_features, in_features).
    bias : Parameter or None
        (out_features,).

    Raises
    ------
    ValueError, TypeError
        If a size is not a positive integer, or ``dtype`` neither float32 nor float64.

    Examples
    --------
    >>> import numpy as np
    >>> Linear(120, 84, rng=0)(np.ones((2, 120), np.float32)).shape
    (2, 84)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        dtype: DTypeLike = np.float32,
        rng: Rng = None,
    ) -> None:
        self.in_features = whole("in_features", in_features, 1)
        self.out_features = whole("out_features", out_features, 1)
        rng = generator(rng)
        shape = (self.out_features, self.in_features)
        self.weight = Parameter(init.default_weight(shape, dtype=dtype, rng=rng))
        self.bias = Parameter(init.default_bias(shape, dtype=dtype, rng=rng)) if bias else None

    def forward(self, input: Any) -> Any:
        return F.linear(input, self.weight, self.bias)  # type: ignore[arg-type]

    def extra_repr(self) -> str:
        bias = "" if self.bias is not None else ", bias=False"
        return f"{self.in_features}, {self.out_features}{bias}"
