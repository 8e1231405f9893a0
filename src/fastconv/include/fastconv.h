/* The C level of fastconv, for C and C++ that runs in a Python process.
 *
 * An extension adds fastconv.get_include() to its include directories, calls fastconv_import() once,
 * with the GIL, and keeps what it returns: a table of functions, valid until the process ends.
 * Nothing is linked. The functions need no GIL, and may be called by any thread:
 *
 *     const fastconv_api *fc = fastconv_import();
 *     if (fc == NULL)
 *         return NULL;  // an ImportError is set
 *     fastconv_conv2d_shape shape;
 *     int status = fc->conv2d_shape_init(&shape, 1, 3, 224, 224, 64, 3, 3, 1, 1, 1, 1);
 *     if (status == FASTCONV_OK)
 *         status = fc->conv2d_f32(&shape, input, weight, bias, output, NULL, 0);
 *     if (status != FASTCONV_OK)
 *         fprintf(stderr, "%s\n", fc->status_text(status));
 *
 * docs/c-api.md documents each function; _ops.pxd offers the same to Cython.
 */
#ifndef FASTCONV_H
#define FASTCONV_H

#include <Python.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Grows when something that an extension was compiled against changes. Functions that are added at
 * the end of the table do not make it grow: an older extension does not see them. */
#define FASTCONV_ABI_VERSION 1

/* what functions return; status_text puts it into words */
enum {
    FASTCONV_OK = 0,
    FASTCONV_OUT_OF_MEMORY = 1,
    FASTCONV_INDEX_OUT_OF_RANGE = 2,
    FASTCONV_NULL_POINTER = 4,
    FASTCONV_INVALID_SIZE = 5,
    FASTCONV_INVALID_STRIDE = 6,
    FASTCONV_INVALID_PADDING = 7,
    FASTCONV_INVALID_GROUPS = 8,
    FASTCONV_INVALID_OPTION = 9,
    FASTCONV_KERNEL_TOO_LARGE = 10,
    FASTCONV_TOO_LARGE = 11,
    FASTCONV_SHAPE_NOT_CHECKED = 12,
    FASTCONV_WEIGHT_MISMATCH = 13,
    FASTCONV_WORKSPACE_TOO_SMALL = 14
};

/* memory formats */
enum {
    FASTCONV_CONTIGUOUS = 0,   /* (N, C, H, W) */
    FASTCONV_CHANNELS_LAST = 1 /* (N, H, W, C) */
};

/* activations of a forward pass */
enum {
    FASTCONV_ACTIVATION_NONE = 0,
    FASTCONV_ACTIVATION_RELU = 1
};

/* algorithms */
enum {
    FASTCONV_AUTO = 0,    /* whatever is expected to take the least time */
    FASTCONV_DIRECT = 1,  /* every output a plain sum of products */
    FASTCONV_WINOGRAD = 2 /* 3x3 kernels, stride 1, dilation 1, groups 1 */
};

/* One convolution, for all of its passes. Sizes, steps and padding are in elements. */
typedef struct {
    Py_ssize_t batch, in_channels, in_h, in_w;
    Py_ssize_t out_channels, kernel_h, kernel_w;
    Py_ssize_t stride_h, stride_w;
    Py_ssize_t pad_top, pad_bottom, pad_left, pad_right;
    Py_ssize_t dilation_h, dilation_w;
    Py_ssize_t groups;
    Py_ssize_t input_format, output_format; /* of gradients too */
    Py_ssize_t activation;
    Py_ssize_t algorithm;
    Py_ssize_t out_h, out_w; /* written by init and check, only read by the rest */
} fastconv_conv2d_shape;

/* One pooling, likewise. */
typedef struct {
    Py_ssize_t batch, channels, in_h, in_w;
    Py_ssize_t kernel_h, kernel_w;
    Py_ssize_t stride_h, stride_w;
    Py_ssize_t pad_h, pad_w;           /* on both sides; at most half of what the kernel spans */
    Py_ssize_t dilation_h, dilation_w; /* of max pooling */
    Py_ssize_t ceil_mode;              /* 1: output sizes are rounded up */
    Py_ssize_t adaptive; /* 1: windows share the input out evenly; the above is unused */
    Py_ssize_t count_include_pad;           /* 1: means count the padding */
    Py_ssize_t divisor_override;            /* means divide by it, unless it is 0 */
    Py_ssize_t input_format, output_format; /* indices have the output's */
    Py_ssize_t out_h, out_w;                /* as above; where adaptive, read by check */
} fastconv_pool2d_shape;

/* Memory for one call at a time. With data NULL the call computes nothing, reads no array, and
 * writes to `size` how many bytes it would need, never 0. */
typedef struct {
    void *data;
    size_t size;
} fastconv_workspace;

/* Weights in the orders that kernels want them; what is inside is nobody's business. */
typedef struct fastconv_packed_conv2d fastconv_packed_conv2d;

typedef struct {
    int abi_version; /* FASTCONV_ABI_VERSION of the library */
    size_t size;     /* sizeof(fastconv_api) of the library */

    const char *(*status_text)(int status);
    int (*conv2d_shape_init)(fastconv_conv2d_shape *shape, Py_ssize_t batch, Py_ssize_t in_channels,
                             Py_ssize_t in_h, Py_ssize_t in_w, Py_ssize_t out_channels,
                             Py_ssize_t kernel_h, Py_ssize_t kernel_w, Py_ssize_t stride,
                             Py_ssize_t padding, Py_ssize_t dilation, Py_ssize_t groups);
    int (*conv2d_shape_check)(fastconv_conv2d_shape *shape);
    int (*pool2d_shape_init)(fastconv_pool2d_shape *shape, Py_ssize_t batch, Py_ssize_t channels,
                             Py_ssize_t in_h, Py_ssize_t in_w, Py_ssize_t kernel_h,
                             Py_ssize_t kernel_w, Py_ssize_t stride, Py_ssize_t padding);
    int (*pool2d_shape_init_adaptive)(fastconv_pool2d_shape *shape, Py_ssize_t batch,
                                      Py_ssize_t channels, Py_ssize_t in_h, Py_ssize_t in_w,
                                      Py_ssize_t out_h, Py_ssize_t out_w);
    int (*pool2d_shape_check)(fastconv_pool2d_shape *shape);
    int (*conv2d_f32)(const fastconv_conv2d_shape *shape, const float *input, const float *weight,
                      const float *bias, float *output, fastconv_workspace *workspace,
                      int num_threads);
    int (*conv2d_f64)(const fastconv_conv2d_shape *shape, const double *input, const double *weight,
                      const double *bias, double *output, fastconv_workspace *workspace,
                      int num_threads);
    int (*conv2d_backward_input_f32)(const fastconv_conv2d_shape *shape, const float *grad_output,
                                     const float *weight, float *grad_input,
                                     fastconv_workspace *workspace, int num_threads);
    int (*conv2d_backward_input_f64)(const fastconv_conv2d_shape *shape, const double *grad_output,
                                     const double *weight, double *grad_input,
                                     fastconv_workspace *workspace, int num_threads);
    int (*conv2d_backward_weight_f32)(const fastconv_conv2d_shape *shape, const float *grad_output,
                                      const float *input, float *grad_weight,
                                      fastconv_workspace *workspace, int num_threads);
    int (*conv2d_backward_weight_f64)(const fastconv_conv2d_shape *shape, const double *grad_output,
                                      const double *input, double *grad_weight,
                                      fastconv_workspace *workspace, int num_threads);
    int (*conv2d_backward_bias_f32)(const fastconv_conv2d_shape *shape, const float *grad_output,
                                    float *grad_bias, fastconv_workspace *workspace,
                                    int num_threads);
    int (*conv2d_backward_bias_f64)(const fastconv_conv2d_shape *shape, const double *grad_output,
                                    double *grad_bias, fastconv_workspace *workspace,
                                    int num_threads);
    int (*conv2d_pack_f32)(const fastconv_conv2d_shape *shape, const float *weight,
                           fastconv_packed_conv2d **packed, int num_threads);
    int (*conv2d_pack_f64)(const fastconv_conv2d_shape *shape, const double *weight,
                           fastconv_packed_conv2d **packed, int num_threads);
    void (*conv2d_packed_free)(fastconv_packed_conv2d *packed);
    int (*conv2d_packed_f32)(const fastconv_conv2d_shape *shape, const float *input,
                             fastconv_packed_conv2d *packed, const float *bias, float *output,
                             fastconv_workspace *workspace, int num_threads);
    int (*conv2d_packed_f64)(const fastconv_conv2d_shape *shape, const double *input,
                             fastconv_packed_conv2d *packed, const double *bias, double *output,
                             fastconv_workspace *workspace, int num_threads);
    int (*max_pool2d_f32)(const fastconv_pool2d_shape *shape, const float *input, float *output,
                          int64_t *indices, fastconv_workspace *workspace, int num_threads);
    int (*max_pool2d_f64)(const fastconv_pool2d_shape *shape, const double *input, double *output,
                          int64_t *indices, fastconv_workspace *workspace, int num_threads);
    int (*max_pool2d_backward_f32)(const fastconv_pool2d_shape *shape, const float *grad_output,
                                   const int64_t *indices, float *grad_input,
                                   fastconv_workspace *workspace, int num_threads);
    int (*max_pool2d_backward_f64)(const fastconv_pool2d_shape *shape, const double *grad_output,
                                   const int64_t *indices, double *grad_input,
                                   fastconv_workspace *workspace, int num_threads);
    int (*avg_pool2d_f32)(const fastconv_pool2d_shape *shape, const float *input, float *output,
                          fastconv_workspace *workspace, int num_threads);
    int (*avg_pool2d_f64)(const fastconv_pool2d_shape *shape, const double *input, double *output,
                          fastconv_workspace *workspace, int num_threads);
    int (*avg_pool2d_backward_f32)(const fastconv_pool2d_shape *shape, const float *grad_output,
                                   float *grad_input, fastconv_workspace *workspace,
                                   int num_threads);
    int (*avg_pool2d_backward_f64)(const fastconv_pool2d_shape *shape, const double *grad_output,
                                   double *grad_input, fastconv_workspace *workspace,
                                   int num_threads);
} fastconv_api;

/* The table, or NULL with an ImportError set. Needs the GIL. */
static inline const fastconv_api *fastconv_import(void)
{
    PyObject *module = PyImport_ImportModule("fastconv._ops");
    PyObject *capsule = module ? PyObject_GetAttrString(module, "_C_API") : NULL;
    const fastconv_api *api = NULL;
    Py_XDECREF(module);
    if (capsule == NULL)
        return NULL;
    api = (const fastconv_api *)PyCapsule_GetPointer(capsule, "fastconv._ops._C_API");
    Py_DECREF(capsule); /* the table outlives it */
    if (api == NULL)
        return NULL;
    if (api->abi_version != FASTCONV_ABI_VERSION || api->size < sizeof(fastconv_api)) {
        PyErr_Format(PyExc_ImportError,
                     "built for the C level %d of fastconv with a table of %zd bytes, but the "
                     "installed fastconv has level %d with %zd bytes",
                     FASTCONV_ABI_VERSION, (Py_ssize_t)sizeof(fastconv_api), api->abi_version,
                     (Py_ssize_t)api->size);
        return NULL;
    }
    return api;
}

#ifdef __cplusplus
}
#endif

#endif
