from fastconv.reference import batch_norm, batch_norm_backward  # noqa
