"""Functions on NumPy arrays: every op of a convolutional network, forward and backward.

What is public is said once, in the ``__all__`` of each module.
"""
# ruff: noqa: F403

import types
from typing import TYPE_CHECKING

from fastconv.functional._op import Op
from fastconv.functional.activation import *
from fastconv.functional.adaptive_pool import *
from fastconv.functional.conv import *
from fastconv.functional.conv_transpose import *
from fastconv.functional.dropout import *
from fastconv.functional.global_pool import *
from fastconv.functional.join import *
from fastconv.functional.linear import *
from fastconv.functional.loss import *
from fastconv.functional.lp_pool import *
from fastconv.functional.norm import *
from fastconv.functional.packing import *
from fastconv.functional.pad import *
from fastconv.functional.pool import *
from fastconv.functional.shape import *
from fastconv.functional.unpool import *

# Type checkers take a star import for a re-export; an `__all__` that they cannot read hides it.
if not TYPE_CHECKING:
    __all__ = sorted(
        name for name, op in globals().items() if isinstance(op, types.FunctionType | Op)
    )
