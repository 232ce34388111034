"""Convolution of each channel with its own filter: the direct sum, a vector of channels at a time."""
