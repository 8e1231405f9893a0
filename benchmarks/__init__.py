"""How fast fastconv is beside the NumPy reference and its peers: ``python -m benchmarks --help``.

What makes the comparison fair:

- Every side is called as its user calls it, on the same numbers, already in its own container and
  memory format, and allocates its own results. Weights lie as a layer of that library keeps them:
  PyTorch's follow the memory format of the images, onnxruntime and ncnn pack theirs when the model
  loads, and with --packed fastconv does so before. Nobody records a graph, but in whole training
  steps (--training): there PyTorch runs as its user trains, eagerly and compiled.
- The sides take turns within one process, so that the clock frequency, the neighbours and the
  state of the memory are the same for all, and the shortest time of many calls counts: noise only
  ever adds. A turn is a short burst: its first calls are not timed, because the threads of the
  side before still spin for a while (see `benchmarks.timing`).
- All sides have the same number of threads. Where fastconv shares a peer's OpenMP runtime, that
  peer is imported first, so that threads wait as its users know it.
- A row is timed only after its results were found to agree.
- GF/s count 2 operations for each multiplication of the definition, those with padding included,
  for every side; GB/s count each operand and each result once. So a side that saves multiplications
  may pass the machine's peak.
- Ratios are the other's time over fastconv's: above 1, fastconv is the faster. "Best format" pairs
  each side's better memory format.
"""

# Thread pools read these when they start: `python -m benchmarks` sets them before any is imported.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
# The idle threads of OpenBLAS spin for 2^28 cycles, a tenth of a second, which would leave the next
# side a core short. With 2^22, some milliseconds, they sleep in time, and are no slower themselves.
SPINNING = ("OPENBLAS_THREAD_TIMEOUT", "22")
