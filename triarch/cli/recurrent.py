"""The recurrent networks that the command trains."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from triarch import layers

_UNITS = 128


def _bidirectional(units: int, **settings: Any) -> layers.Layer:
    return layers.Bidirectional(layers.LSTM(units // 2, **settings))


# From units to a layer with so many numbers in its output.
RECURRENT: dict[str, Callable[..., layers.Layer]] = {
    "rnn": layers.SimpleRNN,
    "lstm": layers.LSTM,
    "gru": layers.GRU,
    "bilstm": _bidirectional,
}


def stack(model: str, returns_sequences: bool = False, units: int = _UNITS, dropout: float = 0.3) -> list[layers.Layer]:
    """Two recurrent layers, each with dropout behind it."""
    layer = partial(RECURRENT[model], units)
    drop = partial(layers.Dropout, dropout)
    return [layer(return_sequences=True), drop(), layer(return_sequences=returns_sequences), drop()]
