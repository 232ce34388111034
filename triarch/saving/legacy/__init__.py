"""Files and descriptions of models from before Keras 3, and the HDF5 files that Keras 3 still writes."""

from triarch.saving.legacy.configs import is_old, upgraded
from triarch.saving.legacy.optimizer_state import with_learning_rate
from triarch.saving.legacy.weights import is_legacy, load_weights, read_layers
from triarch.saving.legacy.whole_models import load_model, save_model, upgraded_archive

__all__ = [
    "is_legacy",
    "is_old",
    "load_model",
    "load_weights",
    "read_layers",
    "save_model",
    "upgraded",
    "upgraded_archive",
    "with_learning_rate",
]
