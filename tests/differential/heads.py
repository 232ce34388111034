"""What a program's outputs are trained for: their last layers, losses, metrics, labels and weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Task:
    """A kind of labels, and what fits them."""

    activation: str
    losses: tuple[str, ...]
    metrics: tuple[str, ...]


TASKS = {
    "values": Task(
        "linear",
        ("mse", "mae", "huber", "log_cosh", "mean_absolute_percentage_error", "cosine_similarity"),
        ("mae", "mse", "RootMeanSquaredError", "R2Score", "CosineSimilarity", "mean_absolute_percentage_error"),
    ),
    "counts": Task("softplus", ("poisson", "mean_squared_logarithmic_error"), ("mae", "poisson")),
    "yes or no": Task(
        "sigmoid",
        ("binary_crossentropy", "binary_focal_crossentropy", "dice", "tversky"),
        ("accuracy", "binary_accuracy", "AUC", "Precision", "Recall", "binary_crossentropy"),
    ),
    "signs": Task("tanh", ("hinge", "squared_hinge"), ("hinge", "mae")),
    "classes": Task(
        "softmax",
        ("sparse_categorical_crossentropy",),
        ("accuracy", "sparse_categorical_accuracy", "SparseTopKCategoricalAccuracy"),
    ),
    "shares": Task(
        "softmax",
        ("categorical_crossentropy", "kl_divergence", "categorical_focal_crossentropy"),
        ("accuracy", "categorical_accuracy", "TopKCategoricalAccuracy", "kl_divergence"),
    ),
}
WHOLE_SAMPLES = ("R2Score",)  # metrics of outputs of rank 2 alone
OF_A_BATCH = ("dice", "tversky")  # losses that are one number for all samples: weights of samples say nothing to them


@dataclass(frozen=True)
class Head:
    """An output of a program."""

    of: int  # the number of the tensor that it is computed from
    task: str
    units: int
    rank: int  # of the output
    loss: str
    metrics: tuple[str, ...]
    weighted_metrics: tuple[str, ...]
    weights: str  # "none", "samples", "steps" or "classes"
    squeezed_labels: bool  # without a last axis of 1; hinge and Poisson spread such labels over all outputs in Keras

    def layers(self, k: Any) -> list[Any]:
        """The last layers, in library `k`."""
        return [k.layers.Dense(self.units, activation=TASKS[self.task].activation)]

    def labels(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """Labels for outputs of this shape."""
        made = {
            "values": lambda: rng.normal(size=shape),
            "counts": lambda: rng.poisson(2.0, size=shape).astype("float64"),
            "yes or no": lambda: rng.integers(0, 2, size=shape),
            "signs": lambda: rng.choice([-1.0, 1.0], size=shape),
            "classes": lambda: rng.integers(0, shape[-1], size=shape[:-1]),
            "shares": lambda: np.eye(shape[-1])[rng.integers(0, shape[-1], size=shape[:-1])],
        }[self.task]()
        return made[..., 0] if self.squeezed_labels else made

    def sample_weight(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray | None:
        """Weights for outputs of this shape."""
        if self.weights == "samples":  # aligned by the user, as Keras aligns weights with the last axes of losses
            return rng.uniform(0.2, 2.0, size=(shape[0], *[1] * (len(shape) - 2)))
        return rng.uniform(0.2, 2.0, size=shape[:-1]) if self.weights == "steps" else None

    def class_weight(self) -> dict[int, float] | None:
        """Weights of the classes."""
        return {label: 0.5 + label for label in range(max(self.units, 2))} if self.weights == "classes" else None

    @property
    def gives_probabilities(self) -> bool:
        """Whether the outputs are probabilities."""
        return TASKS[self.task].activation in ("softmax", "sigmoid")

    def __str__(self) -> str:
        labels = "labels without last axis" if self.squeezed_labels else "labels"
        return (
            f"Dense({self.units}) of t{self.of} for {self.task}, {labels}, weights of {self.weights}: "
            f"loss {self.loss}, metrics {self.metrics}, weighted {self.weighted_metrics}"
        )


def draw_head(rng: np.random.Generator, shape: tuple[int | None, ...], of: int, is_masked: bool) -> Head:
    """A head for a tensor of this shape, which may carry a mask.

    Left out is what Keras gives another number for than the definition: cosines of one number are signs, which rounding
    turns; labels without the last axis meet all outputs in some functions; masks are multiplied
    into weights where these lie, again at every use; a loss of one number for the whole batch knows no masked steps.
    """
    name = str(rng.choice(list(TASKS)))
    task, rank = TASKS[name], len(shape)
    units = int(rng.integers(2, 5)) if name in ("classes", "shares") else int(rng.choice([1, 1, 3]))
    losses = [own for own in task.losses if units > 1 or own != "cosine_similarity"]
    loss = str(rng.choice([own for own in losses if not is_masked or own not in OF_A_BATCH]))
    can_squeeze = units == 1 and name in ("values", "yes or no") and (rank == 2 or not is_masked)
    squeezed = can_squeeze and bool(rng.random() < 0.4)
    kinds = ["none", "none", "samples", *(["steps"] if rank == 3 and not squeezed else [])]
    if rank == 2 and name == "classes":
        kinds.append("classes")
    metrics = [own for own in task.metrics if rank == 2 or own not in WHOLE_SAMPLES]
    if squeezed:
        metrics = [own for own in metrics if own != "CosineSimilarity"]
    if is_masked:
        metrics, kinds = [], ["none"]
    return Head(
        of=of,
        task=name,
        units=units,
        rank=rank,
        loss=loss,
        metrics=_some(rng, metrics, 2),
        weighted_metrics=_some(rng, metrics, 1),
        weights="none" if loss in OF_A_BATCH else str(rng.choice(kinds)),
        squeezed_labels=squeezed,
    )


def _some(rng: np.random.Generator, names: list[str], most: int) -> tuple[str, ...]:
    count = min(len(names), int(rng.integers(0, most + 1)))
    return tuple(str(name) for name in rng.choice(names, size=count, replace=False)) if count else ()
