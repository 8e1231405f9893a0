/* The types of elements, each once: X(with, code, name, stored, real, bits)
 *
 *   code      its number, in fc_table() and in a table's `dtype`
 *   name      the word for it in the names of kernels
 *   stored    what an element in memory is
 *   real      what registers hold and sums are made in
 *   bits      of a real: 32 or 64
 *
 * `with` is for whoever expands the list. setup.py compiles every kernel for every row. Where
 * `stored` is not `real`, simd.h asks for the conversions. */
#ifndef FASTCONV_DTYPES_H
#define FASTCONV_DTYPES_H

#define FC_DTYPE_LIST(X, with)                 \
    X(with, FC_FLOAT32, f32, float, float, 32) \
    X(with, FC_FLOAT64, f64, double, double, 64)

#endif
