"""Tensors and the tape: ``loss.backward()`` through any graph of ops.

How it works is derived, with numbers, in docs/derivation.md, "The tape".
"""

from fastconv._tape import Node
from fastconv.autograd import gradients as gradients
from fastconv.autograd.checkpoint import checkpoint
from fastconv.autograd.custom import register
from fastconv.autograd.tape import is_grad_enabled, no_grad
from fastconv.autograd.tensor import Tensor

__all__ = ["Node", "Tensor", "checkpoint", "is_grad_enabled", "no_grad", "register"]
