"""Batch normalisation with what follows it, a sum and a rectifier, in as few passes over memory as there can be."""

from triarch.kernels.normalization.operation import Convolution, infer, is_worth_while, normalize

__all__ = ["Convolution", "infer", "is_worth_while", "normalize"]
