"""Dropout."""

from typing import Any

from fastconv import functional as F
from fastconv._arguments import generator
from fastconv.functional._options import check_probability
from fastconv.init import Rng
from fastconv.nn.module import Module

__all__ = ["Dropout"]


class Dropout(Module):
    """In training, zero each element with probability ``p`` and scale the rest by 1 / (1 − p).

    Parameters
    ----------
    p : float
        Probability of zeroing an element, in [0, 1].
    rng : numpy.random.Generator, int or None
        Where the masks come from; kept as the attribute ``rng``, whose state a checkpoint may
        save.

    Raises
    ------
    ValueError, TypeError
        If ``p`` is not a number in [0, 1], or ``rng`` no seed.

    References
    ----------
    Srivastava et al., "Dropout", Journal of Machine Learning Research 15, 2014.

    Examples
    --------
    >>> import numpy as np
    >>> layer = Dropout(0.5, rng=0)
    >>> layer(np.ones(6))
    Tensor([2., 0., 0., 0., 2., 2.])
    >>> layer.eval()(np.ones(6))
    Tensor([1., 1., 1., 1., 1., 1.])
    """

    def __init__(self, p: float = 0.5, *, rng: Rng = None) -> None:
        self.p = check_probability(p)
        self.rng = generator(rng)

    def forward(self, input: Any) -> Any:
        if not self.training or self.p == 0:
            return input
        return F.dropout(input, self.p, rng=self.rng)

    def extra_repr(self) -> str:
        return f"p={self.p}"
