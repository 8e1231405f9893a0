"""Parameter updates, learning-rate schedules and gradient clipping, each the same as torch's.

SGD, Adam and AdamW go through memory once, on all threads. Where the processor joins a product and
a sum, the last digit differs from what NumPy would compute; it never depends on the threads.

An optimiser changes a parameter's array in place, so every reference to it stays valid, and skips
a parameter whose ``grad`` is None. Its state is a flat dict of arrays and numbers, ready for npz
or safetensors; after :meth:`Optimizer.load_state_dict` the run goes on as if never broken.
"""

from fastconv.optim.clipping import clip_grad_norm, clip_grad_value
from fastconv.optim.optimizer import Optimizer
from fastconv.optim.schedules import CosineAnnealingLR, LRScheduler, StepLR
from fastconv.optim.updates import SGD, Adam, AdamW, RMSprop

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "CosineAnnealingLR",
    "LRScheduler",
    "Optimizer",
    "RMSprop",
    "StepLR",
    "clip_grad_norm",
    "clip_grad_value",
]
