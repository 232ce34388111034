"""Images read at places between their pixels: grids of places, and the numbers there."""

from triarch.kernels.sampling.grids import affine_grid, projective_grid, tps_grid, tps_matrix
from triarch.kernels.sampling.operation import grid_sample, sample
from triarch.kernels.sampling.places import coordinates, pixels_of

__all__ = [
    "affine_grid",
    "coordinates",
    "grid_sample",
    "pixels_of",
    "projective_grid",
    "sample",
    "tps_grid",
    "tps_matrix",
]
