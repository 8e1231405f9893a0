# `from fastconv cimport ...`: the C level, declared and documented in _ops.pxd.
from fastconv._ops cimport (
    ACTIVATION_NONE, ACTIVATION_RELU, AUTO, CHANNELS_LAST, CONTIGUOUS, DIRECT,
    INDEX_OUT_OF_RANGE, INVALID_GROUPS, INVALID_OPTION, INVALID_PADDING, INVALID_SIZE,
    INVALID_STRIDE, KERNEL_TOO_LARGE, NULL_POINTER, OK, OUT_OF_MEMORY, SHAPE_NOT_CHECKED,
    TOO_LARGE, WEIGHT_MISMATCH, WINOGRAD, WORKSPACE_TOO_SMALL,
    Activation, Algorithm, Conv2dShape, MemoryFormat, PackedConv2d, Pool2dShape, Status,
    Workspace,
    avg_pool2d_backward_f32, avg_pool2d_backward_f64, avg_pool2d_f32, avg_pool2d_f64,
    conv2d_backward_bias_f32, conv2d_backward_bias_f64, conv2d_backward_input_f32,
    conv2d_backward_input_f64, conv2d_backward_weight_f32, conv2d_backward_weight_f64,
    conv2d_f32, conv2d_f64, conv2d_pack_f32, conv2d_pack_f64, conv2d_packed_f32,
    conv2d_packed_f64, conv2d_packed_free, conv2d_shape_check, conv2d_shape_init,
    max_pool2d_backward_f32, max_pool2d_backward_f64, max_pool2d_f32, max_pool2d_f64,
    pool2d_shape_check, pool2d_shape_init, pool2d_shape_init_adaptive, status_text,
)
