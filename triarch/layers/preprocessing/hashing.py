"""`Hashing`: tokens without a vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from triarch import config
from triarch.graph import SymbolicTensor
from triarch.layers.arguments import is_integer
from triarch.layers.base import Layer
from triarch.layers.preprocessing.encoding import encode, encoded_shape
from triarch.layers.preprocessing.fingerprints import fingerprint, keyed_hash
from triarch.layers.preprocessing.tokens import integers
from triarch.layers.texts import Texts, strings
from triarch.registry import register

_MODES = ("int", "one_hot", "multi_hot", "count")


@register("keras.layers")
class Hashing(Layer):
    """Strings or integers become the numbers of bins, by a hash that is the same everywhere and always.

    Different tokens may share a bin. It is called with arrays, lists or, for integers, tensors; or within a model, with
    strings behind an `Input` of type `"string"`. The numbers are those of Keras.

    Args:
        num_bins: How many bins there are, that of the mask included.
        mask_value: The token that becomes 0; all others then get another number.
        salt: A number, or two, that the hash depends on: SipHash is taken then, else FarmHash's fingerprint.
        output_mode: `"int"`; or for each sample (the last axis) `"multi_hot"` or `"count"`; or `"one_hot"`.
    """

    takes_texts = True

    def __init__(
        self,
        num_bins: int,
        mask_value: Any = None,
        salt: int | Sequence[int] | None = None,
        output_mode: str = "int",
        sparse: bool = False,
        **kwargs: Any,
    ) -> None:
        if output_mode not in _MODES:
            raise ValueError(f"`output_mode` is one of {_MODES}. Received: output_mode={output_mode!r}")
        kwargs.pop("dtype", None)  # numbers of bins are int64, vectors of floatx
        super().__init__(**kwargs)
        if not is_integer(num_bins) or num_bins <= 0:
            raise ValueError(f"`num_bins` is a positive integer. Received: num_bins={num_bins!r}")
        if sparse:
            raise ValueError("There are no sparse outputs here. Received: sparse=True")
        pair: Any = [salt, salt] if is_integer(salt) else salt
        if pair is not None and not (
            isinstance(pair, (list, tuple)) and len(pair) == 2 and all(is_integer(part) and part >= 0 for part in pair)
        ):
            raise ValueError(f"`salt` is a number that is not negative, or two of them. Received: salt={salt!r}")
        self.num_bins = int(num_bins)
        self.mask_value = mask_value
        self.salt = None if pair is None else [int(part) for part in pair]
        self.output_mode, self.sparse = output_mode, sparse

    def __call__(self, inputs: Any, *, training: bool | None = None, **kwargs: Any) -> Any:  # type: ignore[override]
        if isinstance(inputs, SymbolicTensor):
            return super().__call__(inputs, training=training, **kwargs)
        return self.call(inputs)  # tokens may be strings, which are no tensors outside of models

    def call(self, inputs: Any) -> torch.Tensor:
        """Numbers of bins, or vectors of them, as a tensor."""
        return encode(self._bins(_tokens(inputs)), self.output_mode, self.num_bins)

    def _bins(self, tokens: np.ndarray[Any, Any]) -> torch.Tensor:
        has_mask = self.mask_value is not None and self.num_bins > 1
        different, places = np.unique(tokens, return_inverse=True)
        found = hashed(different, self.num_bins - has_mask, self.salt) + has_mask
        if has_mask:
            found[different == self.mask_value] = 0
        return torch.from_numpy(found[places].reshape(tokens.shape)).to(config.device())

    def compute_output_shape(self, input_shape: Any) -> tuple[Any, ...]:
        """That of the inputs, whose last axis becomes one of bins where vectors are asked for."""
        return encoded_shape(input_shape, self.output_mode, self.num_bins)

    def compute_output_spec(self, inputs: Any, **kwargs: Any) -> Any:
        """A symbolic tensor of integers, or of vectors."""
        dtype = "int64" if self.output_mode == "int" else config.floatx()
        return SymbolicTensor(self.compute_output_shape(inputs.shape), dtype)


def hashed(tokens: np.ndarray[Any, Any], bins: int, salt: Sequence[int] | None = None) -> np.ndarray[Any, Any]:
    """The bin of each token of a flat array of strings or integers."""
    texts = (str(token).encode() for token in tokens.tolist())
    if salt is None:
        return np.array([fingerprint(text) % bins for text in texts], np.int64)
    first, second = salt
    return np.array([keyed_hash(text, (first, second)) % bins for text in texts], np.int64)


def _tokens(values: Any) -> np.ndarray[Any, Any]:
    """An array of strings or of integers; other numbers lose what is behind the point.

    Raises:
        ValueError: Values are neither strings nor numbers.
    """
    if isinstance(values, Texts):
        return strings(values)
    array = np.asarray(values.cpu() if isinstance(values, torch.Tensor) else values)
    return integers(values) if array.dtype.kind in "iubf" else strings(values)
