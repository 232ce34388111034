"""Images turned, moved, warped, bent and hidden in clutter, to see which networks find them again."""

from triarch.datasets.distorted.batches import DistortedImages
from triarch.datasets.distorted.distortion import Distortion, distort
from triarch.datasets.distorted.scenes import cluttered, digit_addition

__all__ = ["DistortedImages", "Distortion", "cluttered", "digit_addition", "distort"]
