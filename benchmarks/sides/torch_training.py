"""PyTorch's training step of a network of fastconv's: the same layers, weights and update."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

import fastconv.nn
from benchmarks.cases import Array

_FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


class _Residual(nn.Module):
    def __init__(self, body: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.shortcut = shortcut

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return self.body(input) + self.shortcut(input)


def can_compile() -> bool:
    """Whether `torch.compile` will find the C++ compiler that it needs."""
    return any(map(shutil.which, ("g++", "clang++")))


def training_step(
    model: fastconv.nn.Module, images: Array, labels: Array, lr: float, format: str, compiled: bool
) -> Callable[[], float]:
    """A call that goes one step of SGD and returns the loss, from the weights that `model` has."""
    network = translated(model)
    state = {name: torch.from_numpy(array) for name, array in model.state_dict().items()}
    network.load_state_dict(state)  # copies
    network.to(memory_format=_FORMATS[format])
    x, target = torch.from_numpy(images), torch.from_numpy(labels)  # in images' own format
    # the fastest that torch has: one loop over each parameter
    optimizer = torch.optim.SGD(network.parameters(), lr, fused=True)

    def forward() -> torch.Tensor:
        return F.cross_entropy(network(x), target)

    if compiled:
        forward = torch.compile(forward)

    def step() -> float:
        loss = forward()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()

    return step


def translated(module: fastconv.nn.Module) -> nn.Module:
    """The same layers in torch.nn, whose parameters have the same names."""
    match module:
        case fastconv.nn.Sequential():
            return nn.Sequential(*map(translated, module))
        case fastconv.nn.Residual(body=body, shortcut=shortcut):
            return _Residual(translated(body), translated(shortcut) if shortcut else nn.Identity())
        case fastconv.nn.Conv2d():
            return nn.Conv2d(
                module.in_channels,
                module.out_channels,
                module.kernel_size,
                module.stride,
                module.padding,
                module.dilation,
                module.groups,
                bias=module.bias is not None,
            )
        case fastconv.nn.BatchNorm2d():
            return nn.BatchNorm2d(module.num_features, module.eps, module.momentum)
        case fastconv.nn.ReLU():
            return nn.ReLU(inplace=True)  # as torchvision's networks have it
        case fastconv.nn.MaxPool2d():
            return nn.MaxPool2d(module.kernel_size, module.stride, module.padding)
        case fastconv.nn.GlobalAvgPool2d():
            return nn.AdaptiveAvgPool2d(1)
        case fastconv.nn.Flatten():
            return nn.Flatten()
        case fastconv.nn.Linear():
            return nn.Linear(module.in_features, module.out_features, bias=module.bias is not None)
    raise TypeError(f"no layer of torch.nn is known for {module!r}")
