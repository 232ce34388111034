"""From texts to numbers of words."""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from triarch.layers.arguments import describe
from triarch.layers.preprocessing.lookup import StringLookup
from triarch.layers.preprocessing.tokens import strings
from triarch.registry import register

_PUNCTUATION = re.compile(f"[{re.escape(string.punctuation)}]")
_STANDARDS = (None, "lower_and_strip_punctuation", "lower", "strip_punctuation")
_SPLITS = (None, "whitespace", "character")
Texts = np.ndarray[Any, Any]


@register("keras.layers")
class TextVectorization(StringLookup):
    """Texts become rows of the numbers of their words, or counts of them, by a vocabulary.

    It is called with strings, lists or arrays of strings, outside models: there are no tensors of strings.

    Args:
        max_tokens: The largest vocabulary that `adapt` makes, special tokens included.
        standardize: `"lower_and_strip_punctuation"`, `"lower"`, `"strip_punctuation"`, None, or a function of a text.
        split: `"whitespace"`, `"character"`, None, or a function from a text to its tokens.
        ngrams: Also pairs of tokens for 2, triples for 3 and so on; or of the lengths in a tuple alone.
        output_mode: `"int"`, with 0 behind the ends of texts and 1 for unknown tokens; `"multi_hot"`, `"count"` or
            `"tf_idf"`.
        output_sequence_length: Of rows in mode `"int"`; None for the longest text of a batch.
        pad_to_max_tokens: Whether encodings have `max_tokens` numbers however small the vocabulary is.
        vocabulary: Tokens, or the path of a file with one on each line.
        idf_weights: A weight for each token, for `"tf_idf"`.
    """

    def __init__(
        self,
        max_tokens: int | None = None,
        standardize: str | Callable[[str], str] | None = "lower_and_strip_punctuation",
        split: str | Callable[[str], Any] | None = "whitespace",
        ngrams: int | tuple[int, ...] | None = None,
        output_mode: str = "int",
        output_sequence_length: int | None = None,
        pad_to_max_tokens: bool = False,
        vocabulary: Any = None,
        idf_weights: Any = None,
        sparse: bool = False,
        ragged: bool = False,
        encoding: str = "utf-8",
        **kwargs: Any,
    ) -> None:
        if not callable(standardize) and standardize not in _STANDARDS:
            raise ValueError(f"`standardize` is a function or one of {_STANDARDS}. Received: {standardize=}")
        if not callable(split) and split not in _SPLITS:
            raise ValueError(f"`split` is a function or one of {_SPLITS}. Received: {split=}")
        if ragged:
            raise ValueError("There are no ragged outputs here. Received: ragged=True")
        if output_sequence_length is not None and (output_mode != "int" or output_sequence_length <= 0):
            raise ValueError(
                "`output_sequence_length` is positive, and goes with output mode 'int'. Received: "
                f"{output_sequence_length=} and {output_mode=}"
            )
        lengths = tuple(range(1, ngrams + 1)) if isinstance(ngrams, int) else ngrams
        if lengths is not None and (not lengths or min(lengths) < 1):
            raise ValueError(f"`ngrams` is a positive number or a tuple of such numbers. Received: {ngrams=}")
        super().__init__(
            max_tokens,
            1,
            "",
            "[UNK]",
            vocabulary,
            idf_weights,
            False,
            output_mode,
            pad_to_max_tokens,
            sparse,
            encoding,
            **kwargs,
        )
        self.standardize, self.split, self.ngrams, self.ragged = standardize, split, ngrams, ragged
        self.output_sequence_length = output_sequence_length
        self._lengths = lengths

    def _arguments(self) -> Iterator[tuple[str, Any]]:
        fixed = ("num_oov_indices", "mask_token", "oov_token", "invert")
        return (pair for pair in super()._arguments() if pair[0] not in fixed)

    def _tokens_in(self, text: str) -> list[str]:
        if callable(self.standardize):
            text = self.standardize(text)
        elif self.standardize is not None:
            text = text.lower() if "lower" in self.standardize else text
            text = _PUNCTUATION.sub("", text) if "punctuation" in self.standardize else text
        if callable(self.split):
            tokens = list(self.split(text))
        elif self.split is None:
            tokens = [text]
        else:
            tokens = text.split() if self.split == "whitespace" else list(text)
        if self._lengths is None:
            return tokens
        return [
            " ".join(tokens[start : start + length])
            for length in self._lengths
            for start in range(len(tokens) - length + 1)
        ]

    def _documents(self, batch: Any) -> Iterator[list[str]]:
        for text in strings(batch).ravel().tolist():
            yield [token for token in self._tokens_in(text) if token]

    def call(self, inputs: Any) -> torch.Tensor:
        """Rows of numbers: `(batch, length)`, or `(batch, tokens)` for counts; one row for a single text."""
        if self._tokens is None:
            raise ValueError(f"{describe(self)} has no vocabulary yet: call `adapt`, or give it a `vocabulary`.")
        texts = strings(inputs)
        if texts.ndim > 2 or (texts.ndim == 2 and texts.shape[1] != 1):
            raise ValueError(f"{describe(self)} takes texts (batch,) or (batch, 1). Received: shape {texts.shape}")
        documents = [self._tokens_in(text) for text in texts.ravel().tolist()]
        if self.split is None and self._lengths is None and self.output_mode == "int":  # texts are tokens
            return self.numbers(np.array([tokens[0] for tokens in documents], dtype=str)).reshape(texts.shape)
        longest = self.output_sequence_length if self.output_mode == "int" else None
        if longest is None:
            longest = max(map(len, documents), default=0)
        # What fills rows is the mask in mode "int", and is left out of the counts.
        filled = np.array([[*tokens[:longest], *[""] * (longest - len(tokens))] for tokens in documents], dtype=str)
        filled = filled.reshape(len(documents), longest)
        if self.output_mode == "int":
            rows = self.numbers(filled)
        else:
            rows = torch.stack([self._encoded(self.numbers(np.array(tokens, dtype=str))) for tokens in documents])
        return rows[0] if texts.ndim == 0 else rows
