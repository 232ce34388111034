"""Losses: functions `(y_true, y_pred)` that give a loss for each sample, and objects that reduce it to one number."""

from __future__ import annotations

from triarch.losses.alignment import squeeze_or_expand_to_same_rank
from triarch.losses.base import FAMILY, Loss, LossFunctionWrapper, reduce_weighted_values
from triarch.losses.binary import (
    BinaryCrossentropy,
    BinaryFocalCrossentropy,
    binary_crossentropy,
    binary_focal_crossentropy,
)
from triarch.losses.categorical import (
    CategoricalCrossentropy,
    CategoricalFocalCrossentropy,
    categorical_crossentropy,
    categorical_focal_crossentropy,
)
from triarch.losses.distribution import KLDivergence, Poisson, kl_divergence, poisson
from triarch.losses.hinge import CategoricalHinge, Hinge, SquaredHinge, categorical_hinge, hinge, squared_hinge
from triarch.losses.regression import (
    CosineSimilarity,
    Huber,
    LogCosh,
    MeanAbsoluteError,
    MeanAbsolutePercentageError,
    MeanSquaredError,
    MeanSquaredLogarithmicError,
    cosine_similarity,
    huber,
    log_cosh,
    mean_absolute_error,
    mean_absolute_percentage_error,
    mean_squared_error,
    mean_squared_logarithmic_error,
)
from triarch.losses.sparse import (
    CategoricalGeneralizedCrossEntropy,
    SparseCategoricalCrossentropy,
    categorical_generalized_cross_entropy,
    check_labels,
    sparse_categorical_crossentropy,
)
from triarch.losses.structured import CTC, Circle, Dice, Tversky, circle, ctc, dice, tversky
from triarch.serialization import Lookup

mse = MSE = mean_squared_error
mae = MAE = mean_absolute_error
mape = MAPE = mean_absolute_percentage_error
msle = MSLE = mean_squared_logarithmic_error
bce = BCE = binary_crossentropy
kld = KLD = kullback_leibler_divergence = kl_divergence
logcosh = log_cosh
BinaryCrossEntropy = BinaryCrossentropy
BinaryFocalCrossEntropy = BinaryFocalCrossentropy
CategoricalCrossEntropy = CategoricalCrossentropy
CategoricalFocalCrossEntropy = CategoricalFocalCrossentropy
SparseCategoricalCrossEntropy = SparseCategoricalCrossentropy

_lookup = Lookup(FAMILY)
get, serialize, deserialize = _lookup.get, _lookup.serialize, _lookup.deserialize

__all__ = [
    "BCE",
    "CTC",
    "KLD",
    "MAE",
    "MAPE",
    "MSE",
    "MSLE",
    "BinaryCrossEntropy",
    "BinaryCrossentropy",
    "BinaryFocalCrossEntropy",
    "BinaryFocalCrossentropy",
    "CategoricalCrossEntropy",
    "CategoricalCrossentropy",
    "CategoricalFocalCrossEntropy",
    "CategoricalFocalCrossentropy",
    "CategoricalGeneralizedCrossEntropy",
    "CategoricalHinge",
    "Circle",
    "CosineSimilarity",
    "Dice",
    "Hinge",
    "Huber",
    "KLDivergence",
    "LogCosh",
    "Loss",
    "LossFunctionWrapper",
    "MeanAbsoluteError",
    "MeanAbsolutePercentageError",
    "MeanSquaredError",
    "MeanSquaredLogarithmicError",
    "Poisson",
    "SparseCategoricalCrossEntropy",
    "SparseCategoricalCrossentropy",
    "SquaredHinge",
    "Tversky",
    "bce",
    "binary_crossentropy",
    "binary_focal_crossentropy",
    "categorical_crossentropy",
    "categorical_focal_crossentropy",
    "categorical_generalized_cross_entropy",
    "categorical_hinge",
    "check_labels",
    "circle",
    "cosine_similarity",
    "ctc",
    "deserialize",
    "dice",
    "get",
    "hinge",
    "huber",
    "kl_divergence",
    "kld",
    "kullback_leibler_divergence",
    "log_cosh",
    "logcosh",
    "mae",
    "mape",
    "mean_absolute_error",
    "mean_absolute_percentage_error",
    "mean_squared_error",
    "mean_squared_logarithmic_error",
    "mse",
    "msle",
    "poisson",
    "reduce_weighted_values",
    "serialize",
    "sparse_categorical_crossentropy",
    "squared_hinge",
    "squeeze_or_expand_to_same_rank",
    "tversky",
]
