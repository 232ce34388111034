"""The letters of a text, one after the other."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from triarch import layers, losses
from triarch.cli.output import CommandError, percent, say
from triarch.cli.recurrent import stack
from triarch.cli.task import Array, Pair, Task
from triarch.files import atomic_write, read_text
from triarch.models import Sequential


class Letters(Task):
    """The next letter of a text, at each of its places."""

    loss = losses.SparseCategoricalCrossentropy(from_logits=True)
    epochs = 10

    def __init__(self, path: Path, window: int | None, sample: int) -> None:
        try:
            text = read_text(path)
        except ValueError as error:
            raise CommandError(str(error)) from error
        self.letters = sorted(set(text))
        self.window, self.sample = window or 100, sample
        fewest = 20 * self.window + 40  # of which each twentieth is a row, and the letter behind it
        if len(text) < fewest:
            raise CommandError(
                f"Expected a text of at least {fewest:,} letters in {str(path)!r}. Received: {len(text):,}"
            )
        place = {letter: number for number, letter in enumerate(self.letters)}
        numbers = np.array([place[letter] for letter in text], np.int64)
        parts = np.split(numbers, [int(0.9 * len(numbers)), int(0.95 * len(numbers))])
        super().__init__(path.stem, *map(self._rows, parts))

    def _rows(self, numbers: Array) -> Pair:
        """Letters in rows, and the letters that follow them."""
        count = (len(numbers) - 1) // self.window
        inputs, following = numbers[: count * self.window], numbers[1 : count * self.window + 1]
        return inputs.reshape(count, self.window), following.reshape(count, self.window)

    def network(self, model: str) -> Any:
        if model == "bilstm":
            raise CommandError("--model bilstm sees the letters that it is to guess; take rnn, lstm or gru for texts.")
        count = len(self.letters)
        inputs = layers.Input((None,), dtype="int64")
        return Sequential(
            [inputs, layers.Embedding(count, 48), *stack(model, True, 256, 0.2), layers.Dense(count)], name=model
        )

    def facts(self) -> dict[str, Any]:
        return {"task": "letters", "letters": "".join(self.letters), "window": self.window}

    def test(self, network: Any, folder: Path) -> tuple[str, list[tuple[str, str]], Mapping[str, Any]]:
        loss, accuracy = network.evaluate(*self.tests, batch_size=64, verbose=0)
        lines = [("right", f"{percent(accuracy)} of the letters"), ("a letter", f"{loss / math.log(2):.3f} bits")]
        if self.sample:
            written = self._written(network)
            with atomic_write(folder / "sample.txt") as temporary:
                temporary.write_text(written + "\n", encoding="utf-8")
            say()
            say(written)
            say()
            lines.append(("sample", "sample.txt in the results"))
        return f"Test loss {loss:.4f}", lines, {"loss": loss, "accuracy": accuracy, "letters": self.tests[1].size}

    def _written(self, network: Any, temperature: float = 0.6) -> str:
        """Letters drawn one after the other, each by the network's chances behind those before it."""
        rng, found = np.random.default_rng(1), [int(self.tests[0][0, 0])]
        for _ in range(self.sample):
            row = network.predict_on_batch(np.array([found[-self.window :]]))[0, -1].astype(np.float64) / temperature
            chances = np.exp(row - row.max())
            found.append(int(rng.choice(len(row), p=chances / chances.sum())))
        return "".join(self.letters[number] for number in found[1:])
