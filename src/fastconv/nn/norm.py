"""Batch normalisation."""

from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike

from fastconv import functional as F
from fastconv._arguments import float_dtype, whole
from fastconv.autograd.checkpoint import is_recomputing
from fastconv.functional._options import check_eps, check_momentum
from fastconv.nn.module import Array, Module, Parameter

__all__ = ["BatchNorm2d"]


class BatchNorm2d(Module):
    """Normalise each channel over the batch and its pixels, then scale and shift it.

    Training uses the batch's mean and variance and keeps running ones, which evaluation uses
    (Ioffe and Szegedy, "Batch normalization", ICML 2015).

    Parameters
    ----------
    num_features : int
        Channels.
    eps : float
        Added to the variance; not negative.
    momentum : float or None
        Weight of the batch in the running statistics, in [0, 1]; None for the mean over all
        batches.
    affine : bool
        Whether to learn a scale and a shift per channel.
    track_running_stats : bool
        If False there are no running statistics, and evaluation uses the batch's as well.
    dtype : dtype
        float32 or float64, of the parameters and of the input.

    Attributes
    ----------
    weight, bias : Parameter or None
        Scale and shift, (num_features,): ones and zeros at first.
    running_mean, running_var : ndarray or None
        (num_features,): zeros and ones at first.
    num_batches_tracked : ndarray of int64 or None
        Batches seen in training, shape ().

    Raises
    ------
    ValueError, TypeError
        If ``num_features`` is not a positive integer, ``eps`` or ``momentum`` out of its range, or
        ``dtype`` neither float32 nor float64.

    Examples
    --------
    >>> import numpy as np
    >>> layer = BatchNorm2d(3)
    >>> x = np.random.default_rng(0).normal(5, 2, (8, 3, 4, 4)).astype(np.float32)
    >>> bool(abs(layer(x).mean()) < 1e-6)
    True
    """

    _buffers = ("running_mean", "running_var", "num_batches_tracked")

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        dtype: DTypeLike = np.float32,
    ) -> None:
        self.num_features = num_features = whole("num_features", num_features, 1)
        self.eps = check_eps(eps)
        self.momentum = None if momentum is None else check_momentum(momentum)
        dtype = float_dtype(dtype)
        self.weight = Parameter(np.ones(num_features, dtype)) if affine else None
        self.bias = Parameter(np.zeros(num_features, dtype)) if affine else None
        track = track_running_stats
        self.running_mean: Array | None = np.zeros(num_features, dtype) if track else None
        self.running_var: Array | None = np.ones(num_features, dtype) if track else None
        self.num_batches_tracked: Array | None = np.zeros((), np.int64) if track else None

    def forward(self, input: Any, activation: Literal["relu"] | None = None) -> Any:
        momentum = self.momentum
        if momentum is None:
            seen = 0 if self.num_batches_tracked is None else int(self.num_batches_tracked)
            momentum = 1.0 / (seen + 1)
        output = F.batch_norm(
            input,
            self.running_mean,
            self.running_var,
            self.weight,  # type: ignore[arg-type]
            self.bias,  # type: ignore[arg-type]
            self.training or self.running_mean is None,
            momentum,
            self.eps,
            activation=activation,
        )
        if self.training and self.num_batches_tracked is not None and not is_recomputing():
            self.num_batches_tracked += 1
        return output

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, "
            f"affine={self.weight is not None}, "
            f"track_running_stats={self.running_mean is not None}"
        )
