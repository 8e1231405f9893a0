"""ncnn: convolution forward, as within one of its nets; it has no batches, so image by image.

What is timed: the convolution alone, from images in the layout that ncnn packs them in between
layers to outputs in that layout, in memory from its pools. Its weights were transformed and packed
when the model was loaded. Of its algorithms the one that a trial finds fastest counts.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import ncnn
import numpy as np

from benchmarks.cases import Array, Case
from benchmarks.timing import best_times

TRIAL = 0.1  # seconds for each algorithm
_WINOGRAD = ("23", "43", "63")  # outputs of a tile, taps of the filter
_PACKED = 1  # as the type of what is extracted


class Ncnn:
    version = ncnn.__version__

    def __init__(self, threads: int) -> None:
        self.threads = threads

    def prepare(self, case: Case) -> Callable[[], Any] | None:
        if (case.function, case.format, case.dtype) != ("conv2d", "contiguous", "float32"):
            return None
        calls = {winograd: self._call(case, winograd) for winograd in _algorithms(case)}
        if len(calls) == 1:
            return calls[None]
        trial = best_times(calls, TRIAL, 3)
        return calls[min(calls, key=lambda winograd: trial[winograd])]

    def _call(self, case: Case, winograd: str | None) -> Callable[[], Any]:
        net = self._net(case, winograd)
        pools = ncnn.UnlockedPoolAllocator(), ncnn.PoolAllocator()

        def packed(image: Array) -> ncnn.Mat:
            """As a layer before the convolution would hand it over."""
            extractor = net.create_extractor()
            extractor.input("x", ncnn.Mat(image).clone())
            return extractor.extract("same", _PACKED)[1]

        images = [packed(image) for image in case.arguments["input"]]
        net.opt.blob_allocator, net.opt.workspace_allocator = pools

        def forward(image: ncnn.Mat, pools: object = pools) -> ncnn.Mat:  # a net keeps no pools
            extractor = net.create_extractor()
            extractor.input("same", image)
            return extractor.extract("y", _PACKED)[1]

        return lambda: [forward(image) for image in images]

    def _net(self, case: Case, winograd: str | None) -> ncnn.Net:
        a = case.arguments
        w = a["weight"]
        # keys of ncnn's own parameter format
        parameters = {0: w.shape[0], 1: w.shape[3], 11: w.shape[2], 2: a["dilation"]}
        parameters |= {3: a["stride"], 4: a["padding"], 5: 0, 6: w.size}
        layer = "Convolution"
        if a["groups"] > 1:
            layer, parameters[7] = "ConvolutionDepthWise", a["groups"]
        written = " ".join(f"{key}={value}" for key, value in parameters.items())
        net = ncnn.Net()
        net.opt.num_threads = self.threads
        net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
        net.opt.use_winograd_convolution = winograd is not None
        for name in _WINOGRAD:
            setattr(net.opt, f"use_winograd{name}_convolution", name == winograd)
        # a leaky ReLU of slope 1 changes nothing but the layout
        net.load_param_mem(
            "7767517\n3 3\nInput x 0 1 x\nReLU same 1 1 x same 0=1.0\n"
            f"{layer} conv 1 1 same y {written}\n"
        )
        with TemporaryDirectory() as folder:
            file = Path(folder, "weights.bin")
            file.write_bytes(bytes(4) + w.tobytes())  # four zeros: float32 follows
            net.load_model(str(file))
        return net

    def arrays(self, result: Any) -> list[Array]:
        return [np.stack([np.array(ncnn.convert_packing(image, 1)) for image in result])]


def _algorithms(case: Case) -> tuple[str | None, ...]:
    """The Winograd algorithms that ncnn has for a case; None is what it does without."""
    a = case.arguments
    plain = a["stride"] == a["dilation"] == a["groups"] == 1
    return (None, *_WINOGRAD) if plain and a["weight"].shape[2:] == (3, 3) else (None,)
