"""`Lookup`: tokens become their numbers in a vocabulary; what layers of strings and of integers share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from triarch import config
from triarch.files import read_text
from triarch.graph import SymbolicTensor
from triarch.layers.arguments import describe
from triarch.layers.base import Layer
from triarch.layers.preprocessing.encoding import encode, encoded_shape
from triarch.layers.texts import TEXT

_MODES = ("int", "one_hot", "multi_hot", "count", "tf_idf")


class Lookup(Layer):
    """A table of tokens: numbers 0 for the mask, then those of unknown tokens, then those of the vocabulary."""

    vocabulary_dtype: str

    def __init__(
        self,
        max_tokens: int | None,
        num_oov_indices: int,
        mask_token: Any,
        oov_token: Any,
        vocabulary: Any,
        idf_weights: Any,
        invert: bool,
        output_mode: str,
        sparse: bool,
        pad_to_max_tokens: bool,
        **kwargs: Any,
    ) -> None:
        kwargs.pop("dtype", None)  # numbers of tokens are int64, vectors of floatx
        super().__init__(**kwargs)
        output_mode = {"binary": "multi_hot", "tf-idf": "tf_idf"}.get(output_mode, output_mode)
        if output_mode not in _MODES:
            raise ValueError(f"`output_mode` is one of {_MODES}. Received: output_mode={output_mode!r}")
        if invert and output_mode != "int":
            raise ValueError(f"With `invert`, `output_mode` is 'int'. Received: output_mode={output_mode!r}")
        if sparse:
            raise ValueError("There are no sparse outputs here. Received: sparse=True")
        if num_oov_indices < 0:
            raise ValueError(f"`num_oov_indices` is not negative. Received: num_oov_indices={num_oov_indices}")
        if invert and num_oov_indices > 1:
            raise ValueError(f"With `invert`, `num_oov_indices` is 0 or 1. Received: num_oov_indices={num_oov_indices}")
        if max_tokens is not None and max_tokens <= num_oov_indices + (mask_token is not None):
            raise ValueError(f"`max_tokens` leaves no room for a vocabulary. Received: max_tokens={max_tokens}")
        if pad_to_max_tokens and max_tokens is None:
            raise ValueError("With `pad_to_max_tokens`, `max_tokens` is given.")
        self.max_tokens, self.num_oov_indices, self.pad_to_max_tokens = max_tokens, num_oov_indices, pad_to_max_tokens
        self.mask_token, self.oov_token = mask_token, oov_token
        self.invert, self.output_mode, self.sparse = invert, output_mode, sparse
        self._tokens: np.ndarray[Any, Any] | None = None
        self._idf: np.ndarray[Any, Any] | None = None
        self._table: dict[Any, int] = {}
        if vocabulary is not None:
            self.set_vocabulary(vocabulary, idf_weights)

    untracked = Layer.untracked | {"_table"}
    state_size_varies = True  # as the vocabulary does
    takes_texts = True

    @classmethod
    def from_config(cls, config: Any) -> Any:
        """Make the layer anew; a file of a vocabulary is not read because a configuration names it.

        Raises:
            ValueError: The configuration names a file.
        """
        if isinstance(config.get("vocabulary"), (str, Path)):
            raise ValueError(
                "A configuration holds the vocabulary itself; files are read only where a program names them. "
                f"Received: vocabulary={config['vocabulary']!r}"
            )
        known = {name: value for name, value in config.items() if name not in _UNUSED}
        return super().from_config(known)

    @property
    def vocabulary(self) -> list[Any] | None:
        """The tokens without the special ones; None before there are any."""
        return None if self._tokens is None else self._tokens.tolist()

    @property
    def idf_weights(self) -> list[float] | None:
        """How rare each token is; None but for `"tf_idf"`."""
        return None if self._idf is None else self._idf.tolist()

    @property
    def _first_token(self) -> int:
        """The number of the first token of the vocabulary."""
        return self.num_oov_indices + self._has_mask

    @property
    def _has_mask(self) -> bool:
        return self.mask_token is not None and self.output_mode == "int"

    def vocabulary_size(self) -> int:
        """How many numbers there are, those of special tokens too."""
        return self._first_token + (0 if self._tokens is None else len(self._tokens))

    def get_vocabulary(self, include_special_tokens: bool = True) -> list[Any]:
        """The tokens, each at its number; or only those of the vocabulary."""
        own = self.vocabulary or []
        if not include_special_tokens:
            return own
        return [self.mask_token] * self._has_mask + [self.oov_token] * self.num_oov_indices + own

    def set_vocabulary(self, vocabulary: Any, idf_weights: Any = None) -> None:
        """Use these tokens, the first of which may be the special ones.

        Args:
            vocabulary: Tokens, or the path of a file with one on each line.
            idf_weights: A weight for each token, for `"tf_idf"`.

        Raises:
            ValueError: A token comes twice, there are none or too many, or weights are missing.
        """
        if isinstance(vocabulary, (str, Path)):
            vocabulary = read_text(vocabulary).removesuffix("\n").split("\n")
        if (idf_weights is not None) != (self.output_mode == "tf_idf"):
            raise ValueError(
                f"`idf_weights` go with output mode 'tf_idf'. Received: output_mode={self.output_mode!r} and "
                f"idf_weights={idf_weights!r}"
            )
        tokens = self._standardized(vocabulary).ravel()
        special = self.get_vocabulary()[: self._first_token]
        has_special = len(special) > 0 and tokens[: len(special)].tolist() == special
        weights = None if idf_weights is None else np.asarray(idf_weights, np.float64)
        if weights is not None and weights.shape != tokens.shape:
            raise ValueError(f"`idf_weights` has a weight for each of {len(tokens)} tokens. Received: {weights.shape}")
        if has_special:
            tokens = tokens[len(special) :]
            weights = None if weights is None else weights[len(special) :]
        if not len(tokens):
            raise ValueError(f"A vocabulary has at least one token. Received: vocabulary={vocabulary!r}")
        repeated = [token for token, count in Counter(tokens.tolist()).items() if count > 1]
        reserved = [token for token in (self.mask_token, self.oov_token if self.invert else None) if token is not None]
        misplaced = [token for token in reserved if token in tokens.tolist()]
        if repeated or misplaced:
            raise ValueError(
                f"In a vocabulary each token comes once, and special ones come first, if at all, as {special}. "
                f"Received: {repeated or misplaced} at other places"
            )
        if self.max_tokens is not None and len(tokens) + self._first_token > self.max_tokens:
            raise ValueError(
                f"With special tokens there may be {self.max_tokens} tokens (`max_tokens`). "
                f"Received: {len(tokens) + self._first_token}"
            )
        self._use(tokens, weights)

    def _use(self, tokens: np.ndarray[Any, Any], weights: np.ndarray[Any, Any] | None) -> None:
        self._tokens, self._idf = tokens, weights
        self._table = {token: number for number, token in enumerate(tokens.tolist(), self._first_token)}
        if self._has_mask:
            self._table[self.mask_token] = 0

    def adapt(self, data: Any, steps: int | None = None) -> None:
        """Make a vocabulary of the tokens in the data, the most frequent one first.

        Args:
            data: An array of tokens, or batches of them.
            steps: How many batches are looked at; None for all.
        """
        tokens: Counter[Any] = Counter()
        documents: Counter[Any] = Counter()
        number_of_documents = 0
        for batch in _batches(data, steps):
            for document in self._documents(batch):
                tokens.update(document)
                documents.update(set(document))
                number_of_documents += 1
        for special in (self.mask_token, self.oov_token):
            tokens.pop(special, None)
        ordered = sorted(tokens, key=lambda token: (tokens[token], token), reverse=True)
        if self.max_tokens is not None:
            ordered = ordered[: self.max_tokens - self._first_token]
        if not ordered:
            raise ValueError(f"{describe(self)} found no tokens in the data that it was to adapt to.")
        weights = None
        if self.output_mode == "tf_idf":
            weights = np.log1p(number_of_documents / (1 + np.array([documents[token] for token in ordered])))
        self._use(self._standardized(ordered), weights)

    def _documents(self, batch: Any) -> Iterator[list[Any]]:
        """The tokens of each sample."""
        array = self._standardized(batch)
        yield from (array.reshape(-1, 1) if array.ndim < 2 else array.reshape(len(array), -1)).tolist()

    def _standardized(self, tokens: Any) -> np.ndarray[Any, Any]:
        raise NotImplementedError

    def _unknown_number(self, tokens: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """The numbers of tokens that the vocabulary does not have, where there is more than one such number."""
        raise NotImplementedError

    def __call__(self, inputs: Any, *, training: bool | None = None, **kwargs: Any) -> Any:  # type: ignore[override]
        if isinstance(inputs, SymbolicTensor):
            return super().__call__(inputs, training=training, **kwargs)
        return self.call(inputs)  # tokens may be strings, which are no tensors outside of models

    def compute_output_shape(self, input_shape: Any) -> Any:
        """That of the tokens, with an axis for encodings."""
        depth = self.max_tokens if self.pad_to_max_tokens and self.max_tokens else self.vocabulary_size()
        return encoded_shape(input_shape, self.output_mode, depth)

    def compute_output_spec(self, inputs: Any, **kwargs: Any) -> Any:
        """A symbolic tensor of integers, or of vectors."""
        if self.invert and self.vocabulary_dtype == TEXT:
            raise ValueError(
                f"{describe(self)} gives strings, which no model can: call it on what the model gives. "
                f"Received: {inputs!r}"
            )
        dtype = "int64" if self.output_mode == "int" else config.floatx()
        return SymbolicTensor(self.compute_output_shape(inputs.shape), dtype)

    def save_own_variables(self, store: Any) -> None:
        """Put the weights of tokens into `store`, as Keras has them: those of unknown tokens are the mean."""
        if self._idf is not None and self._tokens is not None:
            store["idf_weights"] = self._idf_of_numbers()

    def load_own_variables(self, store: Any) -> None:
        """Take the weights of tokens from `store`; where there are no tokens yet, `load_assets` brings them."""
        if "idf_weights" in store:
            weights = np.asarray(store["idf_weights"], np.float64)
            own = slice(self._first_token, self._first_token + len(self._tokens)) if self._tokens is not None else ...
            self._idf = weights[own]

    def load_assets(self, dir_path: str) -> None:
        """Take the vocabulary that Keras wrote into a file of its own, as it does with one that `adapt` has made."""
        file = Path(dir_path) / "vocabulary.txt"
        if self._tokens is not None or not file.exists():
            return
        lines = read_text(file).split("\n")
        while lines and not lines[-1]:
            lines.pop()
        tokens = lines if self.vocabulary_dtype == TEXT else [int(line) for line in lines]
        self.set_vocabulary(tokens, None if self._idf is None else self._idf[: len(tokens)])

    def call(self, inputs: Any) -> Any:
        """Numbers as a tensor; with `invert`, tokens as an array, or integers as a tensor where the numbers are one."""
        if self._tokens is None:
            raise ValueError(f"{describe(self)} has no vocabulary yet: call `adapt`, or give it a `vocabulary`.")
        if self.invert:
            return self._tokens_of(inputs)
        return self._encoded(self.numbers(self._standardized(inputs)))

    def numbers(self, tokens: np.ndarray[Any, Any]) -> torch.Tensor:
        """The number of each token."""
        if not tokens.size:
            return torch.zeros(tokens.shape, dtype=torch.long, device=config.device())
        different, places = np.unique(tokens, return_inverse=True)
        found = np.array([self._table.get(token, -1) for token in different.tolist()])
        unknown = found < 0
        if unknown.any():
            if not self.num_oov_indices:
                raise ValueError(
                    f"{describe(self)} has no number for unknown tokens (`num_oov_indices=0`). "
                    f"Received: {different[unknown][:10].tolist()}"
                )
            own = self._unknown_number(different[unknown]) if self.num_oov_indices > 1 else 0
            found[unknown] = int(self._has_mask) + own
        return torch.from_numpy(np.asarray(found[places]).reshape(tokens.shape)).to(config.device())

    def _tokens_of(self, numbers: Any) -> Any:
        is_tensor = isinstance(numbers, torch.Tensor)
        numbers = np.asarray(numbers.cpu() if is_tensor else numbers)
        tokens = np.array(self.get_vocabulary(), dtype=None if self.vocabulary_dtype == "int64" else object)
        is_known = (numbers >= 0) & (numbers < len(tokens))
        if not is_known.all() and not self.num_oov_indices:
            raise ValueError(
                f"{describe(self)} has {len(tokens)} tokens. Received: numbers {np.unique(numbers[~is_known]).tolist()}"
            )
        found = np.where(is_known, tokens[np.where(is_known, numbers, 0)], self.oov_token)
        if self.vocabulary_dtype == TEXT:
            return found.astype(str)
        return torch.from_numpy(found).to(config.device()) if is_tensor else found

    def _encoded(self, numbers: torch.Tensor) -> torch.Tensor:
        """Numbers as `output_mode` says."""
        depth = self.max_tokens if self.pad_to_max_tokens and self.max_tokens else self.vocabulary_size()
        if self.output_mode != "tf_idf":
            return encode(numbers, self.output_mode, depth)
        counts = encode(numbers, "count", depth)
        return counts * torch.as_tensor(self._idf_of_numbers(), dtype=counts.dtype, device=numbers.device)

    def _idf_of_numbers(self) -> np.ndarray[Any, Any]:
        """A weight for each number, that of unknown tokens too, and 0 for those that no token has."""
        assert self._idf is not None
        depth = self.max_tokens if self.pad_to_max_tokens and self.max_tokens else self.vocabulary_size()
        weights = np.concatenate([np.full(self.num_oov_indices, self._idf.mean()), self._idf])
        return np.pad(weights, (0, depth - len(weights)))


# Of Keras's configurations: what follows from the vocabulary, and what one class alone has.
_UNUSED = frozenset({"vocabulary_size", "has_input_vocabulary", "oov_method", "salt"})


def _batches(data: Any, steps: int | None) -> Iterable[Any]:
    """An array, or a column of a table, as one batch; other data as the batches that it gives."""
    if isinstance(data, (np.ndarray, list, tuple, str, torch.Tensor)) or hasattr(data, "__array__"):
        return [data]
    return (batch for number, batch in enumerate(data) if steps is None or number < steps)
