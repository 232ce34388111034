"""Vectors for numbers, and masks of the steps that count."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, ClassVar

import torch
import torch.nn.functional as F

from triarch import constraints, initializers, registry, regularizers
from triarch.layers.abstract import Elementwise
from triarch.layers.arguments import describe, standardize_tuple
from triarch.layers.base import Layer
from triarch.layers.precision import cast
from triarch.registry import register
from triarch.tensors import keep_mask


@register("keras.layers")
class Embedding(Layer):
    """The vector of each number: integers of any shape become `(*shape, output_dim)`.

    Args:
        input_dim: How many numbers there are: 0 to `input_dim - 1`.
        mask_zero: Whether 0 stands for steps that do not count.
        weights: The vectors to begin with, `(input_dim, output_dim)`.
    """

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        embeddings_initializer: Any = "uniform",
        embeddings_regularizer: Any = None,
        embeddings_constraint: Any = None,
        mask_zero: bool = False,
        weights: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.autocast = False  # numbers stay numbers
        self.input_dim = standardize_tuple(input_dim, 1, "input_dim")[0]
        self.output_dim = standardize_tuple(output_dim, 1, "output_dim")[0]
        self.embeddings_initializer = initializers.get(embeddings_initializer)
        self.embeddings_regularizer = regularizers.get(embeddings_regularizer)
        self.embeddings_constraint = constraints.get(embeddings_constraint)
        self.mask_zero = mask_zero
        self.supports_masking = self.makes_mask = bool(mask_zero)
        if weights is not None:
            self.build()
            self.set_weights(weights if isinstance(weights, list) and len(weights) == 1 else [weights])

    supports_masking = False  # unless `mask_zero` says otherwise
    makes_mask = False
    _silent_config: ClassVar[dict[str, Any]] = {"autocast": False}

    def _arguments(self) -> Iterator[tuple[str, Any]]:
        yield from (pair for pair in super()._arguments() if pair[0] != "weights")  # a file has them elsewhere
        yield "activity_regularizer", self.activity_regularizer

    def build(self, input_shape: Any = None) -> None:
        if not self.built:
            self.embeddings = self.add_weight(
                (self.input_dim, self.output_dim),
                self.embeddings_initializer,
                regularizer=self.embeddings_regularizer,
                constraint=self.embeddings_constraint,
                name="embeddings",
            )

    def call(self, inputs: torch.Tensor) -> torch.Tensor:
        numbers = inputs if inputs.dtype in (torch.int32, torch.int64) else inputs.to(torch.int64)
        try:
            return F.embedding(numbers, self.embeddings).to(self._compute_torch_dtype)
        except IndexError:
            raise ValueError(
                f"{describe(self)} has vectors for the numbers 0 to {self.input_dim - 1}. Received: numbers from "
                f"{int(numbers.min())} to {int(numbers.max())}"
            ) from None

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """Where the number is not 0; None unless `mask_zero`."""
        return _differs(inputs, 0) if self.mask_zero else None

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The shape with an axis for the vectors."""
        return (*input_shape, self.output_dim)


@register("keras.layers")
class Masking(Elementwise):
    """Lets steps of series `(batch, steps, features)` not count whose features are all `mask_value`; they become 0.

    In hierarchies `(batch, ..., steps, features)`, and in series of images, each place of the axes but the last has an
    entry in the mask; layers that go by whole steps let a step count where any place in it does.

    Args:
        mask_value: May be NaN.
    """

    makes_mask = False  # apart from the one that `call` leaves on the outputs
    casts_inputs = False  # a value that is compared

    def __init__(self, mask_value: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mask_value = mask_value

    def call(self, inputs: torch.Tensor) -> torch.Tensor:
        mask = self.compute_mask(inputs)
        kept = torch.where(mask.unsqueeze(-1), inputs, 0)
        return keep_mask(cast(kept, self._compute_torch_dtype), mask)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """Where a feature differs from `mask_value`."""
        return _differs(inputs, self.mask_value).any(-1)


def _differs(inputs: Any, value: Any) -> Any:
    """Where numbers, symbolic ones too, are not `value`, which may be NaN."""
    is_nan = isinstance(value, float) and math.isnan(value)
    if isinstance(inputs, torch.Tensor):
        return ~inputs.isnan() if is_nan else inputs != value
    if is_nan:
        return registry.lookup("keras.ops", "logical_not")(registry.lookup("keras.ops", "isnan")(inputs))
    return registry.lookup("keras.ops", "not_equal")(inputs, value)
