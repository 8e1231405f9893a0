"""The C level: concrete functions for other extensions, which trust nothing but pointers.

Each function of _capi.pxd is a line over one of those below, which serve every dtype;
codegen/c_level.py writes these lines. They work on a copy of the geometry that was validated anew.
"""

from cpython.pycapsule cimport PyCapsule_New

from fastconv._drivers.axis cimport AXES, D, H, W
from fastconv._drivers.conv cimport (
    conv_backward_bias, conv_backward_input, conv_backward_weight, conv_outputs, forward_form)
from fastconv._drivers.correlation cimport Correlation
from fastconv._drivers.kernels cimport FC_FLOAT32, FC_FLOAT64, fc_kernels, fc_size
from fastconv._drivers.memory cimport Arena, use_arena
from fastconv._drivers.packed cimport PackedFilters, fits, free_filters, pack_filters, use_packed
from fastconv._drivers.pool cimport (
    Pool, average_backward, max_backward as run_max_backward, pool_form, pool_forward, unpool,
    unpool_backward)
from fastconv._drivers.runtime cimport hold_signals, kernels, release_signals
from fastconv._drivers.strided cimport Strided, dense
from fastconv._geometry cimport find_transposed_size, validate_conv, validate_pool

cdef enum:
    MAX_THREADS = 1024


# ---------------------------------------------------------------- geometry

cdef void set_axis(Axis *a, Py_ssize_t size, Py_ssize_t kernel, Py_ssize_t stride,
                   Py_ssize_t padding, Py_ssize_t dilation) noexcept nogil:
    a.size, a.kernel, a.stride, a.dilation, a.out = size, kernel, stride, dilation, 0
    a.pad_before = a.pad_after = padding


cdef int conv1d_init(ConvGeometry *geometry, Py_ssize_t batch, Py_ssize_t in_channels,
                     Py_ssize_t in_w, Py_ssize_t out_channels, Py_ssize_t kernel_w,
                     Py_ssize_t stride, Py_ssize_t padding, Py_ssize_t dilation,
                     Py_ssize_t groups) noexcept nogil:
    if geometry == NULL:
        return NULL_POINTER
    geometry.batch, geometry.groups = batch, groups
    geometry.in_channels, geometry.out_channels = in_channels, out_channels
    set_axis(&geometry.axis[D], 1, 1, 1, 0, 1)
    set_axis(&geometry.axis[H], 1, 1, 1, 0, 1)
    set_axis(&geometry.axis[W], in_w, kernel_w, stride, padding, dilation)
    geometry.input_format = geometry.output_format = CONTIGUOUS
    geometry.activation, geometry.algorithm = ACTIVATION_NONE, AUTO
    return conv_check(geometry)


cdef int conv2d_init(ConvGeometry *geometry, Py_ssize_t batch, Py_ssize_t in_channels,
                     Py_ssize_t in_h, Py_ssize_t in_w, Py_ssize_t out_channels, Py_ssize_t kernel_h,
                     Py_ssize_t kernel_w, Py_ssize_t stride, Py_ssize_t padding,
                     Py_ssize_t dilation, Py_ssize_t groups) noexcept nogil:
    cdef int status = conv1d_init(geometry, batch, in_channels, in_w, out_channels, kernel_w,
                                  stride, padding, dilation, groups)
    if status == NULL_POINTER:
        return status
    set_axis(&geometry.axis[H], in_h, kernel_h, stride, padding, dilation)
    return conv_check(geometry)


cdef int conv3d_init(ConvGeometry *geometry, Py_ssize_t batch, Py_ssize_t in_channels,
                     Py_ssize_t in_d, Py_ssize_t in_h, Py_ssize_t in_w, Py_ssize_t out_channels,
                     Py_ssize_t kernel_d, Py_ssize_t kernel_h, Py_ssize_t kernel_w,
                     Py_ssize_t stride, Py_ssize_t padding, Py_ssize_t dilation,
                     Py_ssize_t groups) noexcept nogil:
    cdef int status = conv2d_init(geometry, batch, in_channels, in_h, in_w, out_channels, kernel_h,
                                  kernel_w, stride, padding, dilation, groups)
    if status == NULL_POINTER:
        return status
    set_axis(&geometry.axis[D], in_d, kernel_d, stride, padding, dilation)
    return conv_check(geometry)


cdef int set_transposed_axis(Axis *a, Py_ssize_t size, Py_ssize_t kernel, Py_ssize_t stride,
                             Py_ssize_t padding, Py_ssize_t output_padding,
                             Py_ssize_t dilation) noexcept nogil:
    set_axis(a, 0, kernel, stride, padding, dilation)
    if output_padding >= stride > 0:
        return INVALID_PADDING  # the convolution would have more outputs than that
    return find_transposed_size(a, size, output_padding)


cdef int conv_transpose1d_init(ConvGeometry *geometry, Py_ssize_t batch, Py_ssize_t in_channels,
                               Py_ssize_t in_w, Py_ssize_t out_channels, Py_ssize_t kernel_w,
                               Py_ssize_t stride, Py_ssize_t padding, Py_ssize_t output_padding,
                               Py_ssize_t dilation, Py_ssize_t groups) noexcept nogil:
    cdef int status
    if geometry == NULL:
        return NULL_POINTER
    conv1d_init(geometry, batch, out_channels, 1, in_channels, 1, 1, 0, 1, groups)
    status = set_transposed_axis(&geometry.axis[W], in_w, kernel_w, stride, padding, output_padding,
                                 dilation)
    return conv_check(geometry) if status == OK else status


cdef int conv_transpose2d_init(ConvGeometry *geometry, Py_ssize_t batch, Py_ssize_t in_channels,
                               Py_ssize_t in_h, Py_ssize_t in_w, Py_ssize_t out_channels,
                               Py_ssize_t kernel_h, Py_ssize_t kernel_w, Py_ssize_t stride,
                               Py_ssize_t padding, Py_ssize_t output_padding, Py_ssize_t dilation,
                               Py_ssize_t groups) noexcept nogil:
    cdef int last = conv_transpose1d_init(geometry, batch, in_channels, in_w, out_channels,
                                          kernel_w, stride, padding, output_padding, dilation,
                                          groups)
    cdef int status
    if geometry == NULL:
        return last
    status = set_transposed_axis(&geometry.axis[H], in_h, kernel_h, stride, padding, output_padding,
                                 dilation)
    if last != OK:
        return last
    return conv_check(geometry) if status == OK else status


cdef int conv_transpose3d_init(ConvGeometry *geometry, Py_ssize_t batch, Py_ssize_t in_channels,
                               Py_ssize_t in_d, Py_ssize_t in_h, Py_ssize_t in_w,
                               Py_ssize_t out_channels, Py_ssize_t kernel_d, Py_ssize_t kernel_h,
                               Py_ssize_t kernel_w, Py_ssize_t stride, Py_ssize_t padding,
                               Py_ssize_t output_padding, Py_ssize_t dilation,
                               Py_ssize_t groups) noexcept nogil:
    cdef int last = conv_transpose2d_init(geometry, batch, in_channels, in_h, in_w, out_channels,
                                          kernel_h, kernel_w, stride, padding, output_padding,
                                          dilation, groups)
    cdef int status
    if geometry == NULL:
        return last
    status = set_transposed_axis(&geometry.axis[D], in_d, kernel_d, stride, padding, output_padding,
                                 dilation)
    if last != OK:
        return last
    return conv_check(geometry) if status == OK else status


cdef int conv_check(ConvGeometry *geometry) noexcept nogil:
    if geometry == NULL:
        return NULL_POINTER
    cdef ConvGeometry g = geometry[0]
    cdef int status = validate_conv(&g, NULL), i
    if status == OK:
        for i in range(AXES):
            geometry.axis[i].out = g.axis[i].out
    return status


cdef int pool1d_init(PoolGeometry *geometry, Py_ssize_t batch, Py_ssize_t channels, Py_ssize_t in_w,
                     Py_ssize_t kernel_w, Py_ssize_t stride, Py_ssize_t padding) noexcept nogil:
    if geometry == NULL:
        return NULL_POINTER
    geometry.batch, geometry.channels = batch, channels
    set_axis(&geometry.axis[D], 1, 1, 1, 0, 1)
    set_axis(&geometry.axis[H], 1, 1, 1, 0, 1)
    set_axis(&geometry.axis[W], in_w, kernel_w, stride, padding, 1)
    geometry.adaptive = geometry.ceil_mode = geometry.divisor_override = 0
    geometry.count_include_pad = 1
    geometry.input_format = geometry.output_format = CONTIGUOUS
    return pool_check(geometry)


cdef int pool2d_init(PoolGeometry *geometry, Py_ssize_t batch, Py_ssize_t channels, Py_ssize_t in_h,
                     Py_ssize_t in_w, Py_ssize_t kernel_h, Py_ssize_t kernel_w, Py_ssize_t stride,
                     Py_ssize_t padding) noexcept nogil:
    cdef int status = pool1d_init(geometry, batch, channels, in_w, kernel_w, stride, padding)
    if status == NULL_POINTER:
        return status
    set_axis(&geometry.axis[H], in_h, kernel_h, stride, padding, 1)
    return pool_check(geometry)


cdef int pool3d_init(PoolGeometry *geometry, Py_ssize_t batch, Py_ssize_t channels, Py_ssize_t in_d,
                     Py_ssize_t in_h, Py_ssize_t in_w, Py_ssize_t kernel_d, Py_ssize_t kernel_h,
                     Py_ssize_t kernel_w, Py_ssize_t stride, Py_ssize_t padding) noexcept nogil:
    cdef int status = pool2d_init(geometry, batch, channels, in_h, in_w, kernel_h, kernel_w,
                                  stride, padding)
    if status == NULL_POINTER:
        return status
    set_axis(&geometry.axis[D], in_d, kernel_d, stride, padding, 1)
    return pool_check(geometry)


cdef int adaptive_pool1d_init(PoolGeometry *geometry, Py_ssize_t batch, Py_ssize_t channels,
                              Py_ssize_t in_w, Py_ssize_t out_w) noexcept nogil:
    return adaptive_pool3d_init(geometry, batch, channels, 1, 1, in_w, 1, 1, out_w)


cdef int adaptive_pool2d_init(PoolGeometry *geometry, Py_ssize_t batch, Py_ssize_t channels,
                              Py_ssize_t in_h, Py_ssize_t in_w, Py_ssize_t out_h,
                              Py_ssize_t out_w) noexcept nogil:
    return adaptive_pool3d_init(geometry, batch, channels, 1, in_h, in_w, 1, out_h, out_w)


cdef int adaptive_pool3d_init(PoolGeometry *geometry, Py_ssize_t batch, Py_ssize_t channels,
                              Py_ssize_t in_d, Py_ssize_t in_h, Py_ssize_t in_w, Py_ssize_t out_d,
                              Py_ssize_t out_h, Py_ssize_t out_w) noexcept nogil:
    cdef int status = pool3d_init(geometry, batch, channels, in_d, in_h, in_w, 1, 1, 1, 1, 0)
    if status == NULL_POINTER:
        return status
    geometry.adaptive = 1
    geometry.axis[D].out, geometry.axis[H].out, geometry.axis[W].out = out_d, out_h, out_w
    return pool_check(geometry)


cdef int pool_check(PoolGeometry *geometry) noexcept nogil:
    if geometry == NULL:
        return NULL_POINTER
    cdef PoolGeometry g = geometry[0]
    cdef int status = validate_pool(&g, NULL), i
    if status == OK:
        for i in range(AXES):
            geometry.axis[i].out = g.axis[i].out
    return status


# ---------------------------------------------------------------- before and after a call

cdef bint same_outs(const Axis *a, const Axis *b) noexcept nogil:
    cdef int i
    for i in range(AXES):
        if a[i].out != b[i].out:
            return False
    return True


cdef int validated_conv(const ConvGeometry *given, ConvGeometry *g, int num_threads) noexcept nogil:
    """A copy of the geometry to rely on, unless the status is another than OK."""
    cdef int status
    if given == NULL:
        return NULL_POINTER
    if num_threads < 0 or num_threads > MAX_THREADS:
        return INVALID_OPTION
    g[0] = given[0]
    status = validate_conv(g, NULL)
    if status == OK and not same_outs(given.axis, g.axis):
        return GEOMETRY_NOT_CHECKED
    return status


cdef int validated_pool(const PoolGeometry *given, PoolGeometry *g, int num_threads) noexcept nogil:
    cdef int status
    if given == NULL:
        return NULL_POINTER
    if num_threads < 0 or num_threads > MAX_THREADS:
        return INVALID_OPTION
    g[0] = given[0]
    status = validate_pool(g, NULL)
    if status == OK and not same_outs(given.axis, g.axis):
        return GEOMETRY_NOT_CHECKED
    return status


cdef bint is_query(const Workspace *workspace) noexcept nogil:
    return workspace != NULL and workspace.data == NULL


cdef void begin(const Workspace *workspace, Arena *arena) noexcept nogil:
    hold_signals()  # a caller without the GIL could not take a handler's exception
    if workspace != NULL:
        arena.data, arena.size = <char *> workspace.data, workspace.size
        use_arena(arena)


cdef int end(Workspace *workspace, const Arena *arena, int status) noexcept nogil:
    """The status of a call between `begin` and this; a query is answered."""
    release_signals()
    if workspace == NULL:
        return status
    use_arena(NULL)
    if workspace.data == NULL:
        workspace.size = arena.most + 64  # to start on a cache line in
    elif status == OUT_OF_MEMORY and arena.exhausted:
        return WORKSPACE_TOO_SMALL
    return status


# ---------------------------------------------------------------- convolution

cdef Strided input_of(const ConvGeometry *g, const fc_kernels *k, const void *data) noexcept nogil:
    return dense(data, k.itemsize, <int> g.input_format, g.in_channels, g.axis[D].size,
                 g.axis[H].size, g.axis[W].size)


cdef Strided weight_of(const ConvGeometry *g, const fc_kernels *k, const void *data) noexcept nogil:
    return dense(data, k.itemsize, CONTIGUOUS, g.in_channels // g.groups, g.axis[D].kernel,
                 g.axis[H].kernel, g.axis[W].kernel)


cdef Strided output_of(const ConvGeometry *g, const fc_kernels *k, const void *data) noexcept nogil:
    return dense(data, k.itemsize, <int> g.output_format, g.out_channels, g.axis[D].out,
                 g.axis[H].out, g.axis[W].out)


cdef int forward(const ConvGeometry *geometry, int dtype, const void *input, const void *weight,
                 PackedConv *packed, const void *bias, bint activates, void *output,
                 Workspace *workspace, int num_threads) noexcept nogil:
    cdef ConvGeometry g
    cdef Arena arena
    cdef Correlation c
    cdef const fc_kernels *k = kernels(dtype)
    cdef PackedFilters *p = <PackedFilters *> packed
    cdef int status = validated_conv(geometry, &g, num_threads)
    cdef bint query = is_query(workspace)
    if status != OK:
        return status
    if p != NULL:
        if not fits(p, &g, dtype):
            return WEIGHT_MISMATCH
        weight = p.weight.data
    if g.batch and not query and (input == NULL or weight == NULL or output == NULL):
        return NULL_POINTER
    c = forward_form(&g, k, input_of(&g, k, input), weight_of(&g, k, weight),
                     output_of(&g, k, output))
    c.bias = <const char *> (geometry if query else bias)  # a query counts one in, and reads none
    c.relu = activates and g.activation == ACTIVATION_RELU
    if p != NULL:
        begin(NULL, &arena)  # the handle's memory is its own
        status = end(NULL, &arena, use_packed(p, &c, <int> g.algorithm, num_threads))
    if status != OK:
        return status
    begin(workspace, &arena)
    return end(workspace, &arena, conv_outputs(c, <int> g.algorithm, num_threads))


cdef int pack(const ConvGeometry *geometry, int dtype, const void *weight, PackedConv **packed,
              int num_threads) noexcept nogil:
    cdef ConvGeometry g
    cdef Strided w
    cdef Arena arena
    cdef Correlation c
    cdef PackedFilters *p
    cdef const fc_kernels *k = kernels(dtype)
    cdef int status = validated_conv(geometry, &g, num_threads)
    if packed == NULL:
        return NULL_POINTER
    packed[0] = NULL
    if status != OK:
        return status
    if weight == NULL:
        return NULL_POINTER
    w = weight_of(&g, k, weight)
    p = pack_filters(&g, k, w, True, num_threads)
    if p == NULL:
        return OUT_OF_MEMORY
    c = forward_form(&g, k, input_of(&g, k, NULL), w, output_of(&g, k, NULL))
    if g.batch:
        begin(NULL, &arena)
        status = end(NULL, &arena, use_packed(p, &c, <int> g.algorithm, num_threads))
    if status != OK:
        free_filters(p)
        return status
    packed[0] = <PackedConv *> p
    return OK


cdef void conv_packed_free(PackedConv *packed) noexcept nogil:
    free_filters(<PackedFilters *> packed)


cdef int backward_input(const ConvGeometry *geometry, int dtype, const void *grad_output,
                        const void *weight, const void *bias, bint activates, void *grad_input,
                        Workspace *workspace, int num_threads) noexcept nogil:
    """With bias and activation it is the transposed convolution of `grad_output`."""
    cdef ConvGeometry g
    cdef Arena arena
    cdef const fc_kernels *k = kernels(dtype)
    cdef int status = validated_conv(geometry, &g, num_threads)
    if status != OK:
        return status
    if (g.batch and not is_query(workspace)
            and (grad_output == NULL or weight == NULL or grad_input == NULL)):
        return NULL_POINTER
    if activates and is_query(workspace):
        bias = geometry  # a query counts one in, and reads none
    begin(workspace, &arena)
    status = conv_backward_input(&g, k, output_of(&g, k, grad_output), weight_of(&g, k, weight),
                                 NULL, input_of(&g, k, grad_input), <const char *> bias,
                                 activates and g.activation == ACTIVATION_RELU,
                                 <int> g.algorithm, num_threads)
    return end(workspace, &arena, status)


cdef int backward_weight(const ConvGeometry *geometry, int dtype, const void *grad_output,
                         const void *input, void *grad_weight, Workspace *workspace,
                         int num_threads) noexcept nogil:
    cdef ConvGeometry g
    cdef Arena arena
    cdef const fc_kernels *k = kernels(dtype)
    cdef int status = validated_conv(geometry, &g, num_threads)
    if status != OK:
        return status
    if not is_query(workspace) and (
            grad_weight == NULL or g.batch and (grad_output == NULL or input == NULL)):
        return NULL_POINTER
    begin(workspace, &arena)
    status = conv_backward_weight(&g, k, output_of(&g, k, grad_output), input_of(&g, k, input),
                                  weight_of(&g, k, grad_weight), <int> g.algorithm, num_threads)
    return end(workspace, &arena, status)


cdef int backward_bias(const ConvGeometry *geometry, int dtype, bint transposed,
                       const void *grad_output, void *grad_bias, Workspace *workspace,
                       int num_threads) noexcept nogil:
    """Transposed: the output is the geometry's input."""
    cdef ConvGeometry g
    cdef Arena arena
    cdef const fc_kernels *k = kernels(dtype)
    cdef int status = validated_conv(geometry, &g, num_threads), i
    cdef fc_size sizes[AXES]
    if status != OK:
        return status
    if not is_query(workspace) and (grad_bias == NULL or g.batch and grad_output == NULL):
        return NULL_POINTER
    begin(workspace, &arena)
    for i in range(AXES):
        sizes[i] = g.axis[i].size if transposed else g.axis[i].out
    if transposed:
        status = conv_backward_bias(k, g.batch, g.in_channels, sizes, input_of(&g, k, grad_output),
                                    grad_bias, num_threads)
    else:
        status = conv_backward_bias(k, g.batch, g.out_channels, sizes,
                                    output_of(&g, k, grad_output), grad_bias, num_threads)
    return end(workspace, &arena, status)


# ---------------------------------------------------------------- pooling

cdef Strided pool_input(const PoolGeometry *g, const fc_kernels *k,
                        const void *data) noexcept nogil:
    return dense(data, k.itemsize, <int> g.input_format, g.channels, g.axis[D].size, g.axis[H].size,
                 g.axis[W].size)


cdef Strided pool_output(const PoolGeometry *g, fc_size itemsize, const void *data) noexcept nogil:
    return dense(data, itemsize, <int> g.output_format, g.channels, g.axis[D].out, g.axis[H].out,
                 g.axis[W].out)


cdef int max_forward(const PoolGeometry *geometry, int dtype, const void *input, void *output,
                     int64_t *indices, Workspace *workspace, int num_threads) noexcept nogil:
    cdef PoolGeometry g
    cdef Arena arena
    cdef Pool p
    cdef const fc_kernels *k = kernels(dtype)
    cdef bint query = is_query(workspace)
    cdef int status = validated_pool(geometry, &g, num_threads)
    if status != OK:
        return status
    if g.batch and not query and (input == NULL or output == NULL):
        return NULL_POINTER
    p = pool_form(&g, k, pool_input(&g, k, input), pool_output(&g, k.itemsize, output))
    begin(workspace, &arena)
    if query:  # what is needed with indices as well as without
        status = pool_forward(&p, num_threads)
        p.indices = pool_output(&g, sizeof(int64_t), geometry)
    elif indices != NULL:
        p.indices = pool_output(&g, sizeof(int64_t), indices)
    if status == OK:
        status = pool_forward(&p, num_threads)
    return end(workspace, &arena, status)


cdef int max_backward(const PoolGeometry *geometry, int dtype, const void *grad_output,
                      const int64_t *indices, void *grad_input, Workspace *workspace,
                      int num_threads) noexcept nogil:
    cdef PoolGeometry g
    cdef Arena arena
    cdef Pool p
    cdef const fc_kernels *k = kernels(dtype)
    cdef int status = validated_pool(geometry, &g, num_threads)
    if status != OK:
        return status
    if (g.batch and not is_query(workspace)
            and (grad_output == NULL or indices == NULL or grad_input == NULL)):
        return NULL_POINTER
    p = pool_form(&g, k, pool_input(&g, k, grad_input), pool_output(&g, k.itemsize, grad_output))
    p.indices = pool_output(&g, sizeof(int64_t), indices)
    begin(workspace, &arena)
    return end(workspace, &arena, run_max_backward(&p, num_threads))


cdef int max_unpool(const PoolGeometry *geometry, int dtype, const void *y, const int64_t *indices,
                    const void *x, bint backward, Workspace *workspace,
                    int num_threads) noexcept nogil:
    """Reads y and writes x; backward, reads x, the gradient of the larger array, and writes y."""
    cdef PoolGeometry g
    cdef Arena arena
    cdef Pool p
    cdef const fc_kernels *k = kernels(dtype)
    cdef int status = validated_pool(geometry, &g, num_threads)
    if status != OK:
        return status
    if g.batch and not is_query(workspace) and (x == NULL or indices == NULL or y == NULL):
        return NULL_POINTER
    p = pool_form(&g, k, pool_input(&g, k, x), pool_output(&g, k.itemsize, y))
    p.indices = pool_output(&g, sizeof(int64_t), indices)
    begin(workspace, &arena)
    status = unpool_backward(&p, num_threads) if backward else unpool(&p, num_threads)
    return end(workspace, &arena, status)


cdef int average(const PoolGeometry *geometry, int dtype, const void *x, const void *y,
                 bint backward, Workspace *workspace, int num_threads) noexcept nogil:
    """Reads x and writes y; backward, reads y, the gradient of the output, and writes x."""
    cdef PoolGeometry g
    cdef Arena arena
    cdef Pool p
    cdef const fc_kernels *k = kernels(dtype)
    cdef int status = validated_pool(geometry, &g, num_threads)
    if status != OK:
        return status
    if g.batch and not is_query(workspace) and (x == NULL or y == NULL):
        return NULL_POINTER
    p = pool_form(&g, k, pool_input(&g, k, x), pool_output(&g, k.itemsize, y))
    p.average = True
    begin(workspace, &arena)
    status = average_backward(&p, num_threads) if backward else pool_forward(&p, num_threads)
    return end(workspace, &arena, status)


# ---------------------------------------------------------------- the functions, and their table

include "_capi_functions.pxi"
