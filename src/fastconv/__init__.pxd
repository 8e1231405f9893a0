# `from fastconv cimport ...`: the C level, declared and documented in _ops.pxd.
from fastconv._ops cimport (
    CHANNELS_LAST, CONTIGUOUS, Conv2dShape, MemoryFormat,
    conv2d_backward_input_f32, conv2d_backward_input_f64,
    conv2d_backward_weight_f32, conv2d_backward_weight_f64,
    conv2d_f32, conv2d_f64, conv2d_shape_init,
)
