"""ncnn: convolution forward, as a net of one layer; it has no batches, so image by image."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import ncnn
import numpy as np

from benchmarks.cases import Array, Case


class Ncnn:
    version = ncnn.__version__

    def __init__(self, threads: int) -> None:
        self.threads = threads

    def prepare(self, case: Case) -> Callable[[], Any] | None:
        if (case.function, case.format, case.dtype) != ("conv2d", "contiguous", "float32"):
            return None
        net = self._net(case)
        images = [ncnn.Mat(image).clone() for image in case.arguments["input"]]

        def call() -> list[ncnn.Mat]:
            return [forward(image) for image in images]

        def forward(image: ncnn.Mat) -> ncnn.Mat:
            extractor = net.create_extractor()
            extractor.input("x", image)
            return extractor.extract("y")[1]

        return call

    def _net(self, case: Case) -> ncnn.Net:
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
        net.load_param_mem(f"7767517\n2 2\nInput x 0 1 x\n{layer} conv 1 1 x y {written}\n")
        with TemporaryDirectory() as folder:
            file = Path(folder, "weights.bin")
            file.write_bytes(bytes(4) + w.tobytes())  # four zeros: float32 follows
            net.load_model(str(file))
        return net

    def arrays(self, result: Any) -> list[Array]:
        return [np.stack([np.asarray(image) for image in result])]
