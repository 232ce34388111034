"""How long a step of recurrent networks takes: `scripts/bench [--peers] recurrent [--cases lstm gru] [--rounds 7]`.

As `scripts/bench train`, with series: a recurrent layer, and a dense one behind its last output. `stream` gives a
network that keeps its state one step of one series at a time, and asks for its output.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks import train
from benchmarks.networks import Case, sequential

_STREAMED = 1_000  # steps in a run


def _case(shape: tuple[int, int], batch: int, steps: int, layers_of: Any, torch_layer_of: Any, **settings: Any) -> Case:
    def layers(keras: Any) -> list[Any]:
        return [*layers_of(keras), keras.Dense(10, activation="softmax")]

    build_torch = lambda: _torch_network(torch_layer_of, "shortest" in settings)  # noqa: E731
    return Case(shape, batch, steps, sequential(shape, layers), build_torch, is_convolutional=False, **settings)


def _torch_network(layer_of: Any, is_masked: bool) -> Any:
    """The recurrent layer and a dense one, as PyTorch's users write them."""
    import torch
    from torch import nn

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.recurrent = layer_of(nn)
            self.dense = nn.Linear(self.recurrent.hidden_size * (2 if self.recurrent.bidirectional else 1), 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if is_masked:
                lengths = (x[..., 0] != 0).sum(1)
                x = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
            _, state = self.recurrent(x)
            h = state[0] if isinstance(state, tuple) else state
            return self.dense(torch.cat([*h], 1))

    return Network()


CASES = {
    "lstm": _case((100, 32), 64, 8, lambda keras: [keras.LSTM(128)], lambda nn: nn.LSTM(32, 128, batch_first=True)),
    "gru": _case((100, 32), 64, 8, lambda keras: [keras.GRU(128)], lambda nn: nn.GRU(32, 128, batch_first=True)),
    "simple": _case(
        (100, 32), 64, 8, lambda keras: [keras.SimpleRNN(128)], lambda nn: nn.RNN(32, 128, batch_first=True)
    ),
    "bidirectional": _case(
        (60, 32),
        32,
        32,
        lambda keras: [keras.Bidirectional(keras.LSTM(64))],
        lambda nn: nn.LSTM(32, 64, batch_first=True, bidirectional=True),
    ),
    "masked": _case(
        (100, 32),
        64,
        8,
        lambda keras: [keras.Masking(), keras.LSTM(128)],
        lambda nn: nn.LSTM(32, 128, batch_first=True),
        shortest=20,
    ),
    "small": _case((50, 8), 32, 200, lambda keras: [keras.LSTM(16)], lambda nn: nn.LSTM(8, 16, batch_first=True)),
}
CASES["stream"] = dataclasses.replace(CASES["lstm"], shape=(1, 32), batch_size=1, steps=_STREAMED, tasks=("inference",))


def _stream_of(side: str) -> Callable[[], Any]:
    """A function that gives a stateful network a series, one step after the other, as arrays."""
    series = np.random.default_rng(0).random((_STREAMED, 1, 1, 32), dtype=np.float32)
    if side.startswith("torch"):
        import torch
        from torch import nn

        recurrent, dense = nn.LSTM(32, 128, batch_first=True), nn.Linear(128, 10)
        call = torch.compile(recurrent) if side == "torch-compile" else recurrent

        def run_torch() -> None:
            state = None
            with torch.inference_mode():
                for step in series:
                    output, state = call(torch.from_numpy(step), state)
                    dense(output[:, -1]).softmax(1).numpy()

        return run_torch
    keras = importlib.import_module("triarch" if side == "triarch" else "keras")
    layers = keras.layers
    model = keras.Sequential(
        [layers.Input(batch_shape=(1, 1, 32)), layers.LSTM(128, stateful=True), layers.Dense(10, activation="softmax")]
    )

    def run() -> None:
        for step in series:
            np.asarray(model.predict_on_batch(step))

    return run


def run_of(side: str, case: Case, task: str) -> Callable[[], Any]:
    """A function that goes through `case.steps` batches, or steps of a stream."""
    return _stream_of(side) if case is CASES["stream"] else train.run_of(side, case, task)


if __name__ == "__main__":
    train.main("recurrent", CASES, run_of, __doc__)
