"""Machine code of our own: how kernels are written in Numba, compiled once, kept on disk and run on torch's threads."""
