"""One module per algorithm: tasks over tiles, packing, scratch memory."""
