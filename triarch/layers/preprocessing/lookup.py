"""Strings and integers become their numbers in a vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from triarch.layers.arguments import describe
from triarch.layers.preprocessing.fingerprints import fingerprint
from triarch.layers.preprocessing.tokens import integers
from triarch.layers.preprocessing.vocabularies import Lookup
from triarch.layers.texts import TEXT, strings
from triarch.registry import register


@register("keras.layers")
class StringLookup(Lookup):
    """Strings become their numbers in a vocabulary, which is given or made by `adapt`.

    It is called with strings, lists or arrays of strings; or within a model, behind an `Input` of type `"string"`.

    Args:
        max_tokens: The largest vocabulary that `adapt` makes, special tokens included.
        num_oov_indices: Numbers for unknown strings, which are distributed by their hash; with 0 they are an error.
        mask_token: The string that becomes 0, in output mode `"int"`.
        oov_token: What the numbers of unknown strings become with `invert`.
        vocabulary: Strings, or the path of a file with one on each line.
        idf_weights: A weight for each string, for `"tf_idf"`.
        invert: Whether numbers become strings instead.
        output_mode: `"int"`; or for each sample of strings (the last axis) `"multi_hot"`, `"count"` or `"tf_idf"`; or
            `"one_hot"` for each string.
        pad_to_max_tokens: Whether encodings have `max_tokens` numbers however small the vocabulary is.
    """

    vocabulary_dtype = TEXT

    def __init__(
        self,
        max_tokens: int | None = None,
        num_oov_indices: int = 1,
        mask_token: str | None = None,
        oov_token: str = "[UNK]",  # no password
        vocabulary: Any = None,
        idf_weights: Any = None,
        invert: bool = False,
        output_mode: str = "int",
        pad_to_max_tokens: bool = False,
        sparse: bool = False,
        encoding: str = "utf-8",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            max_tokens, num_oov_indices, mask_token, oov_token, vocabulary, idf_weights, invert, output_mode, sparse,
            pad_to_max_tokens, **kwargs,
        )  # fmt: skip
        self.encoding = encoding

    def _standardized(self, tokens: Any) -> np.ndarray[Any, Any]:
        return strings(tokens)

    def _unknown_number(self, tokens: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return np.array([fingerprint(token.encode(self.encoding)) % self.num_oov_indices for token in tokens.tolist()])


@register("keras.layers")
class IntegerLookup(Lookup):
    """Integers become their numbers in a vocabulary, which is given or made by `adapt`.

    Args:
        max_tokens: The largest vocabulary that `adapt` makes, special tokens included.
        num_oov_indices: Numbers for unknown integers, which are distributed by their remainder; with 0 they are an
            error.
        mask_token: The integer that becomes 0, in output mode `"int"`.
        oov_token: What the numbers of unknown integers become with `invert`.
        vocabulary: Integers, or the path of a file with one on each line.
        idf_weights: A weight for each integer, for `"tf_idf"`.
        invert: Whether numbers become the integers of the vocabulary instead.
        output_mode: `"int"`; or for each sample (the last axis) `"multi_hot"`, `"count"` or `"tf_idf"`; or `"one_hot"`.
        pad_to_max_tokens: Whether encodings have `max_tokens` numbers however small the vocabulary is.
    """

    vocabulary_dtype = "int64"

    def __init__(
        self,
        max_tokens: int | None = None,
        num_oov_indices: int = 1,
        mask_token: int | None = None,
        oov_token: int = -1,
        vocabulary: Any = None,
        vocabulary_dtype: str = "int64",
        idf_weights: Any = None,
        invert: bool = False,
        output_mode: str = "int",
        pad_to_max_tokens: bool = False,
        sparse: bool = False,
        **kwargs: Any,
    ) -> None:
        if vocabulary_dtype != "int64":
            raise ValueError(f"The integers here are of type int64. Received: vocabulary_dtype={vocabulary_dtype!r}")
        super().__init__(
            max_tokens, num_oov_indices, mask_token, oov_token, vocabulary, idf_weights, invert, output_mode, sparse,
            pad_to_max_tokens, **kwargs,
        )  # fmt: skip

    def _standardized(self, tokens: Any) -> np.ndarray[Any, Any]:
        array = np.asarray(tokens.cpu() if isinstance(tokens, torch.Tensor) else tokens)
        if isinstance(tokens, Sequence) and array.dtype.kind == "U":  # the lines of a file
            tokens = array = array.astype(np.int64)
        if array.dtype.kind not in "iub" and array.size:
            raise ValueError(f"{describe(self)} takes integers. Received: type {array.dtype}")
        return integers(tokens if array.size else array.astype(np.int64))

    def _unknown_number(self, tokens: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return tokens % self.num_oov_indices
