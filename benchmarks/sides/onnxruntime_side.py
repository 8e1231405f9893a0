"""onnxruntime: convolution forward, as a model of one node whose weights it has packed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from benchmarks.cases import Array, Case


class OnnxRuntime:
    version = onnxruntime.__version__

    def __init__(self, threads: int) -> None:
        self.options = onnxruntime.SessionOptions()
        self.options.intra_op_num_threads = threads
        # or its threads would go on spinning while the other sides take their turns
        self.options.add_session_config_entry("session.force_spinning_stop", "1")

    def prepare(self, case: Case) -> Callable[[], Any] | None:
        if (case.function, case.format, case.dtype) != ("conv2d", "contiguous", "float32"):
            return None
        a = case.arguments
        node = helper.make_node(
            "Conv",
            ["x", "w"],
            ["y"],
            strides=[a["stride"]] * 2,
            pads=[a["padding"]] * 4,
            dilations=[a["dilation"]] * 2,
            group=a["groups"],
        )
        graph = helper.make_graph(
            [node],
            "convolution",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, a["input"].shape)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
            [numpy_helper.from_array(a["weight"], "w")],
        )
        opset = helper.make_opsetid("", 17)
        model = helper.make_model(graph, opset_imports=[opset], ir_version=8)
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), self.options, providers=["CPUExecutionProvider"]
        )
        # bound input and output: nothing is copied between NumPy and onnxruntime
        binding = session.io_binding()
        value = onnxruntime.OrtValue.ortvalue_from_numpy(a["input"])
        binding.bind_ortvalue_input("x", value)
        binding.bind_output("y", "cpu")

        def call() -> Any:
            session.run_with_iobinding(binding)
            return binding

        return call

    def arrays(self, result: Any) -> list[Array]:
        return [np.asarray(y) for y in result.copy_outputs_to_cpu()]
