"""Convolution as an operation: any rank, exact where it can be, by the fastest of several methods."""

from triarch.convolution.choice import Candidate, Explanation
from triarch.convolution.continuous import ContinuousConvolution, convolve_functions
from triarch.convolution.methods.separable import separate
from triarch.convolution.operation import choose_method, convolve, correlate, explain
from triarch.convolution.polynomial import polymul, polypow
from triarch.convolution.spec import ConvolutionSpec
from triarch.convolution.toom_cook import winograd_matrices

__all__ = [
    "Candidate",
    "ContinuousConvolution",
    "ConvolutionSpec",
    "Explanation",
    "choose_method",
    "convolve",
    "convolve_functions",
    "correlate",
    "explain",
    "polymul",
    "polypow",
    "separate",
    "winograd_matrices",
]
