"""One module per strategy: tasks over tiles, packing, scratch memory; C kernels do the arithmetic.

Which strategy a call takes. Those of a list are asked from top to bottom, each by its own
`is_usable`, and the first that is runs; the last of a list takes all that is left. The answer
depends on the shape, the strides in memory, the dtype and the instruction set, never on threads.

    conv.pyx    forward: one correlation          input gradient: one for each phase of the strides
                           |                                      |
                           +------------- conv_outputs -----------+
                                                |
                  winograd       3x3, stride 1, where costs.pxd expects it to be faster
                  grouped        narrow groups (depthwise, 2 to 16 channels), as many out as in
                  planes         one filter a group, or a few, over rows that fill vectors
                  pointwise      1x1 without a step, over C-contiguous planes
                  few_filters    few filters; or small ones, where the output's rows are contiguous
                  direct         all others

                weight gradient
                  winograd_weight, grouped, planes_weight, weight    the last takes all others

    pool.pyx    pool_forward        pool_planes, pool_windows, pool_staged, pool_few_taps,
                                    pool_rows
                average_backward    pool_planes, pool_spread
                max_backward        pool_tiles, pool_scatter             (conditions: pool.pyx)

    others      matrix (fully connected layers), elementwise, norm, loss, pad, update (optimisers),
                sums, fingerprint

Each of them makes a plan of the call, a struct named after it, and hands tasks to
runtime.parallel_for; a task computes one block of the result with the kernels of kernels.pxd, in
scratch memory of its thread.
"""
