"""Convolution as one matrix product: patches of the input, gathered in the cache, times the kernel."""
