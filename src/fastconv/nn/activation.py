"""Activations, softmax and its logarithm."""

from typing import Any

from fastconv import functional as F
from fastconv.functional._options import check_approximate, check_axis, check_negative_slope
from fastconv.nn.module import Module

__all__ = ["GELU", "LeakyReLU", "LogSoftmax", "ReLU", "SiLU", "Sigmoid", "Softmax", "Tanh"]


class ReLU(Module):
    """max(x, 0).

    Examples
    --------
    >>> import numpy as np
    >>> ReLU()(np.array([-1.0, 2.0]))
    Tensor([0., 2.])
    """

    def forward(self, input: Any) -> Any:
        return F.relu(input)


class LeakyReLU(Module):
    """x where positive, ``negative_slope`` times x elsewhere.

    Parameters
    ----------
    negative_slope : float
        Slope left of zero.

    Raises
    ------
    ValueError, TypeError
        If ``negative_slope`` is NaN or no number.

    Examples
    --------
    >>> import numpy as np
    >>> LeakyReLU(0.5)(np.array([-1.0, 2.0]))
    Tensor([-0.5,  2. ])
    """

    def __init__(self, negative_slope: float = 0.01) -> None:
        self.negative_slope = check_negative_slope(negative_slope)

    def forward(self, input: Any) -> Any:
        return F.leaky_relu(input, self.negative_slope)

    def extra_repr(self) -> str:
        return f"negative_slope={self.negative_slope}"


class Sigmoid(Module):
    """1 / (1 + exp(−x)).

    Examples
    --------
    >>> import numpy as np
    >>> Sigmoid()(np.array([0.0, 100.0]))
    Tensor([0.5, 1. ])
    """

    def forward(self, input: Any) -> Any:
        return F.sigmoid(input)


class Tanh(Module):
    """Hyperbolic tangent.

    Examples
    --------
    >>> import numpy as np
    >>> Tanh()(np.array([0.0, 100.0]))
    Tensor([0., 1.])
    """

    def forward(self, input: Any) -> Any:
        return F.tanh(input)


class GELU(Module):
    """x Φ(x), with Φ the normal distribution's cumulative function.

    Parameters
    ----------
    approximate : {"none", "tanh"}
        Exact, or by tanh.

    Raises
    ------
    ValueError
        If ``approximate`` is something else.

    References
    ----------
    Hendrycks and Gimpel, "Gaussian error linear units", 2016.

    Examples
    --------
    >>> import numpy as np
    >>> GELU()(np.array([0.0, 1.0])).data.round(4)
    array([0.    , 0.8413])
    """

    def __init__(self, approximate: str = "none") -> None:
        self.approximate = check_approximate(approximate)

    def forward(self, input: Any) -> Any:
        return F.gelu(input, self.approximate)

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"


class SiLU(Module):
    """x / (1 + exp(−x)), also called swish.

    Examples
    --------
    >>> import numpy as np
    >>> SiLU()(np.array([0.0, 1.0])).data.round(4)
    array([0.    , 0.7311])
    """

    def forward(self, input: Any) -> Any:
        return F.silu(input)


class Softmax(Module):
    """exp(x) divided by its sum along ``dim``.

    A classifier trained with :class:`CrossEntropyLoss` has no use for it: that loss takes logits.

    Parameters
    ----------
    dim : int
        Axis that sums to one.

    Raises
    ------
    ValueError, TypeError
        If ``dim`` is no axis that an array can have.

    Examples
    --------
    >>> import numpy as np
    >>> Softmax()(np.array([[1.0, 1.0]]))
    Tensor([[0.5, 0.5]])
    """

    def __init__(self, dim: int = -1) -> None:
        self.dim = check_axis("dim", dim)

    def forward(self, input: Any) -> Any:
        return F.softmax(input, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class LogSoftmax(Module):
    """Logarithm of :class:`Softmax`, computed without overflow.

    Parameters
    ----------
    dim : int
        Axis whose exponentials sum to one.

    Raises
    ------
    ValueError, TypeError
        If ``dim`` is no axis that an array can have.

    Examples
    --------
    >>> import numpy as np
    >>> LogSoftmax()(np.array([[1.0, 1.0]])).exp().data.round(6)
    array([[0.5, 0.5]])
    """

    def __init__(self, dim: int = -1) -> None:
        self.dim = check_axis("dim", dim)

    def forward(self, input: Any) -> Any:
        return F.log_softmax(input, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"
