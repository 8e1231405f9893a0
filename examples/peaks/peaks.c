/* Where a template is found in an image: stars by their shape, say. Compiles as C and as C++.
 *
 *     find = peaks.Finder(template)  # (R, S) array of float32
 *     find(image, threshold)         # (H, W) array of float32 -> [(row, column, response), ...]
 *
 * The response is the correlation of image and template; a peak is a pixel whose response is above
 * the threshold and the largest, of equals the first, of the 3 x 3 around it. Row and column are
 * those of the template's middle, of an even number the earlier one. Beyond the border lie zeros.
 */
#include <Python.h>
#include <string.h>

#include "fastconv.h"

static const fastconv_api *fc; /* valid until the process ends: set at import, once and for all */

/* Read-only after it was made, so that threads may share it. */
typedef struct {
    PyObject_HEAD
    fastconv_conv_geometry geometry; /* but for the size of the image */
    fastconv_packed_conv *packed;
} Finder;

static PyObject *set_error(int status) {
    PyErr_SetString(status == FASTCONV_OUT_OF_MEMORY ? PyExc_MemoryError : PyExc_ValueError,
                    fc->status_text(status));
    return NULL;
}

/* Fills `view`, which is then to be released, or returns -1 with an exception set. */
static int get_plane(PyObject *object, const char *name, Py_buffer *view) {
    if (PyObject_GetBuffer(object, view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT) < 0)
        return -1;
    if (view->ndim == 2 && view->format != NULL && strcmp(view->format, "f") == 0)
        return 0;
    PyErr_Format(PyExc_TypeError, "%s must be of float32 and have 2 dimensions, got format %s and %d",
                 name, view->format ? view->format : "B", view->ndim);
    PyBuffer_Release(view);
    return -1;
}

static PyObject *Finder_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char name[] = "template";
    static char *names[] = {name, NULL};
    fastconv_conv_geometry geometry;
    fastconv_axis *height = &geometry.axis[1], *width = &geometry.axis[2];
    fastconv_packed_conv *packed = NULL;
    PyObject *object;
    Finder *self;
    Py_buffer view;
    int status;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O", names, &object)
        || get_plane(object, name, &view) < 0)
        return NULL;

    const Py_ssize_t h = view.shape[0], w = view.shape[1];
    status = fc->conv2d_init(&geometry, 1, 1, h, w, 1, h, w, 1, 0, 1, 1);
    if (status == FASTCONV_OK) { /* responses as large as the image */
        height->pad_before = (h - 1) / 2, height->pad_after = h / 2;
        width->pad_before = (w - 1) / 2, width->pad_after = w / 2;
        status = fc->conv_check(&geometry);
    }
    if (status == FASTCONV_OK)
        status = fc->conv_pack_f32(&geometry, (const float *)view.buf, &packed, 0);
    PyBuffer_Release(&view); /* what was packed is a copy */
    if (status != FASTCONV_OK)
        return set_error(status);

    self = (Finder *)type->tp_alloc(type, 0);
    if (self == NULL) {
        fc->conv_packed_free(packed);
        return NULL;
    }
    self->geometry = geometry;
    self->packed = packed;
    return (PyObject *)self;
}

static void Finder_dealloc(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    fc->conv_packed_free(((Finder *)self)->packed);
    type->tp_free(self);
    Py_DECREF(type);
}

/* Needs no GIL. `largest` and `indices` are those of each pixel's neighbourhood. */
static int respond(const Finder *self, const float *image, Py_ssize_t h, Py_ssize_t w,
                   float *response, float *largest, int64_t *indices) {
    fastconv_conv_geometry geometry = self->geometry;
    fastconv_pool_geometry pool;
    int status;
    geometry.axis[1].size = h, geometry.axis[2].size = w;
    status = fc->conv_check(&geometry);
    if (status == FASTCONV_OK)
        status = fc->pool2d_init(&pool, 1, 1, h, w, 3, 3, 1, 1);
    if (status == FASTCONV_OK)
        status = fc->conv_packed_f32(&geometry, image, self->packed, NULL, response, NULL, 0);
    if (status == FASTCONV_OK)
        status = fc->max_pool_f32(&pool, response, largest, indices, NULL, 0);
    return status;
}

static PyObject *list_peaks(const float *response, const int64_t *indices, Py_ssize_t pixels,
                            Py_ssize_t w, float threshold) {
    PyObject *peaks = PyList_New(0);
    for (Py_ssize_t i = 0; peaks != NULL && i < pixels; i++) {
        if (indices[i] == i && response[i] > threshold) {
            PyObject *peak = Py_BuildValue("nnf", i / w, i % w, response[i]);
            if (peak == NULL || PyList_Append(peaks, peak) < 0)
                Py_CLEAR(peaks);
            Py_XDECREF(peak);
        }
    }
    return peaks;
}

static PyObject *Finder_call(PyObject *self, PyObject *args, PyObject *kwargs) {
    static char image_[] = "image", threshold_[] = "threshold";
    static char *names[] = {image_, threshold_, NULL};
    PyObject *object, *peaks;
    Py_buffer view;
    float threshold;
    int status = FASTCONV_OUT_OF_MEMORY;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "Of", names, &object, &threshold)
        || get_plane(object, image_, &view) < 0)
        return NULL;

    const Py_ssize_t h = view.shape[0], w = view.shape[1], pixels = h * w;
    float *response = PyMem_New(float, pixels), *largest = PyMem_New(float, pixels);
    int64_t *indices = PyMem_New(int64_t, pixels);
    if (response != NULL && largest != NULL && indices != NULL) {
        Py_BEGIN_ALLOW_THREADS
        status = respond((Finder *)self, (const float *)view.buf, h, w, response, largest, indices);
        Py_END_ALLOW_THREADS
    }
    peaks = status == FASTCONV_OK ? list_peaks(response, indices, pixels, w, threshold)
                                  : set_error(status);
    PyMem_Free(indices);
    PyMem_Free(largest);
    PyMem_Free(response);
    PyBuffer_Release(&view);
    return peaks;
}

PyDoc_STRVAR(Finder_doc,
             "Finder(template)\n--\n\n"
             "Finds where images look like a template, an (R, S) array of float32.\n\n"
             "Called with an (H, W) array of float32 and a threshold, it returns a list of\n"
             "(row, column, response): the local maxima above the threshold of the correlation\n"
             "of image and template.");

static PyType_Slot Finder_slots[] = {
    {Py_tp_doc, (void *)Finder_doc},
    {Py_tp_new, (void *)Finder_new},
    {Py_tp_dealloc, (void *)Finder_dealloc},
    {Py_tp_call, (void *)Finder_call},
    {0, NULL},
};

static PyType_Spec Finder_spec = {
    "peaks.Finder", sizeof(Finder), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE, Finder_slots,
};

static int exec(PyObject *module) {
    PyObject *type;
    int status = -1;
    fc = fastconv_import();
    if (fc == NULL)
        return -1;
    type = PyType_FromModuleAndSpec(module, &Finder_spec, NULL);
    if (type != NULL)
        status = PyModule_AddType(module, (PyTypeObject *)type);
    Py_XDECREF(type);
    return status;
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, (void *)exec},
#ifdef Py_MOD_GIL_NOT_USED /* Python 3.13 */
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

PyDoc_STRVAR(doc, "Where a template is found in an image.");

static PyModuleDef module = {PyModuleDef_HEAD_INIT, "peaks", doc, 0, NULL, slots, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit_peaks(void) {
    return PyModuleDef_Init(&module);
}
