"""HDF5 files of weights from before Keras 3, as published with its applications: arrays by layer."""

from __future__ import annotations

from os import PathLike

import numpy as np

from triarch.saving.hdf5 import open_legacy_reader


def read_layers(filepath: str | PathLike[str]) -> dict[str, list[np.ndarray]]:
    """The arrays of each layer that has any, in their order, by the layer's name.

    Raises:
        ValueError: The file is damaged, or no such file.
    """
    with open_legacy_reader(filepath) as layers:
        return {name: arrays for name, arrays in layers if arrays}
