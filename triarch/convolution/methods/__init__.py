"""The methods, a module each: `refuse(spec)`, `count(spec)` and `plan(spec)`."""

from __future__ import annotations

from types import ModuleType

from triarch.convolution.methods import direct, fourier, kronecker, overlap, separable, winograd

METHODS: dict[str, ModuleType] = {
    "direct": direct,
    "fft": fourier,
    "overlap_add": overlap,
    "winograd": winograd,
    "separable": separable,
    "kronecker": kronecker,
}
