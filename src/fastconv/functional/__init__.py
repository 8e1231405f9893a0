"""Functions on NumPy arrays: every op of a convolutional network, forward and backward."""

from fastconv.functional import conv, dropout, linear, loss, pool, shape
from fastconv.functional.conv import *  # noqa: F403
from fastconv.functional.dropout import *  # noqa: F403
from fastconv.functional.linear import *  # noqa: F403
from fastconv.functional.loss import *  # noqa: F403
from fastconv.functional.pool import *  # noqa: F403
from fastconv.functional.shape import *  # noqa: F403

__all__ = [
    *conv.__all__,
    *dropout.__all__,
    *linear.__all__,
    *loss.__all__,
    *pool.__all__,
    *shape.__all__,
]
