"""What recurrent networks learn of real series, in minutes: `scripts/bench sequences [--cases vowels polarity ...]`.

- vowels: who of nine men says a vowel (Japanese Vowels), by a bidirectional LSTM; lengths differ.
- rows: MNIST, an image as a series of its rows, by one LSTM.
- polarity: whether a sentence about a film is kind, by an embedding and a bidirectional LSTM.
- sunspots: the next month's number, by an LSTM, beside the number of the same month in the year before.
- shakespeare: the next character, by an LSTM, which then writes.

The data lie in the folder that `TRIARCH_DATASETS` names. A record is written, with a figure of the forecast.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import triarch
from benchmarks.interleaved import RESULTS, record
from triarch import layers, optimizers, utils
from triarch.datasets import mnist
from triarch.datasets.ts_files import load_ts

FIGURE = RESULTS / "sunspots.png"


def _folder() -> Path:
    return Path(os.environ["TRIARCH_DATASETS"])


def _compiled(model: Any, loss: str, steps: int, rate: float = 2e-3, **settings: Any) -> Any:
    optimizer = optimizers.Adam(optimizers.schedules.CosineDecay(rate, steps), **settings)
    model.compile(optimizer, loss, metrics=[] if loss == "mse" else ["accuracy"])
    return model


def vowels() -> dict[str, Any]:
    """Accuracy on the test series."""
    (train, y), (test, y_test) = (
        load_ts(_folder() / "japanese-vowels" / f"JapaneseVowels_{part}.ts") for part in ("TRAIN", "TEST")
    )
    together = np.concatenate(train)
    mean, deviation = together.mean(0), together.std(0)
    scaled = ([(own - mean) / deviation for own in part] for part in (train, test))
    x, x_test = (utils.pad_sequences(part, 29, "float32", "post") for part in scaled)
    names, numbers = np.unique(y, return_inverse=True)
    numbers_test = np.searchsorted(names, y_test)
    model = triarch.Sequential(
        [
            layers.Input((None, 12)),
            layers.Masking(),
            layers.GaussianNoise(0.3),
            layers.Bidirectional(layers.LSTM(64, return_sequences=True)),
            layers.Dropout(0.4),
            layers.Bidirectional(layers.LSTM(64)),
            layers.Dropout(0.4),
            layers.Dense(9, activation="softmax"),
        ]
    )
    epochs = 60
    _compiled(model, "sparse_categorical_crossentropy", epochs * 17)
    model.fit(x, numbers, batch_size=16, epochs=epochs, verbose=0)
    return {"test_accuracy": model.evaluate(x_test, numbers_test, verbose=0)[1], "epochs": epochs}


def rows() -> dict[str, Any]:
    """Accuracy on MNIST's test images."""
    (x, y), (x_test, y_test) = mnist.load_data()
    model = triarch.Sequential(
        [layers.Input((28, 28)), layers.Rescaling(1 / 255), layers.LSTM(128), layers.Dense(10, activation="softmax")]
    )
    epochs = 12
    _compiled(model, "sparse_categorical_crossentropy", epochs * 469, clipnorm=1.0)
    model.fit(x, y, batch_size=128, epochs=epochs, verbose=2)
    return {"test_accuracy": model.evaluate(x_test, y_test, verbose=0)[1], "epochs": epochs}


def polarity() -> dict[str, Any]:
    """Accuracy on a tenth of the sentences, held out."""
    texts, labels = [], []
    for label, name in enumerate(("neg", "pos")):
        lines = (_folder() / "sentence-polarity" / f"rt-polarity.{name}").read_text("latin-1").split("\n")
        texts += [line for line in lines if line.strip()]
        labels += [label] * (len(texts) - len(labels))
    order = np.random.default_rng(0).permutation(len(texts))
    held, used = order[: len(order) // 10], order[len(order) // 10 :]
    all_texts, y = np.array(texts), np.array(labels)
    words = layers.TextVectorization(20_000)
    words.adapt(all_texts[used])
    x = words(all_texts)
    model = triarch.Sequential(
        [
            layers.Input((None,), dtype="int64"),
            layers.Embedding(words.vocabulary_size(), 100, mask_zero=True),
            layers.SpatialDropout1D(0.5),
            layers.Bidirectional(layers.LSTM(64)),
            layers.Dropout(0.5),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    epochs = 6
    _compiled(model, "binary_crossentropy", epochs * 150, 2e-3, weight_decay=1e-4)
    model.fit(x[used], y[used], batch_size=64, epochs=epochs, validation_data=(x[held], y[held]), verbose=2)
    return {"test_accuracy": model.evaluate(x[held], y[held], verbose=0)[1], "epochs": epochs, "sentences": len(held)}


def sunspots() -> dict[str, Any]:
    """Errors of forecasts of the last fifth of the months, one month ahead."""
    with (_folder() / "time-series" / "monthly-sunspots.csv").open() as file:
        numbers = np.array([float(row["Sunspots"]) for row in csv.DictReader(file)], np.float32)
    window, split = 132, int(0.8 * len(numbers))
    mean, deviation = numbers[:split].mean(), numbers[:split].std()
    scaled = ((numbers - mean) / deviation)[:, None]
    training = utils.timeseries_dataset_from_array(
        scaled[: split - 1], scaled[window:split], window, batch_size=64, shuffle=True, seed=0
    )
    testing = utils.timeseries_dataset_from_array(scaled[split - window : -1], None, window, batch_size=256)
    model = triarch.Sequential([layers.Input((window, 1)), layers.LSTM(48), layers.Dense(1)])
    epochs = 40
    _compiled(model, "mse", epochs * len(training), 3e-3)
    model.fit(training, epochs=epochs, verbose=0)
    found = model.predict(testing, verbose=0)[:, 0] * deviation + mean
    truth = numbers[split:]
    errors = {
        "lstm": float(np.abs(found - truth).mean()),
        "seasonal_naive": float(np.abs(numbers[split - 12 : -12] - truth).mean()),
        "last_month": float(np.abs(numbers[split - 1 : -1] - truth).mean()),
    }
    _draw(truth, found, errors)
    return {"mean_absolute_errors": errors, "months": len(truth), "epochs": epochs}


def _draw(truth: np.ndarray, found: np.ndarray, errors: dict[str, float]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(9, 3.4), layout="constrained")
    axis.plot(truth, color="0.6", linewidth=1.2, label="sunspots")
    axis.plot(found, linewidth=1.2, label=f"LSTM, one month ahead: off by {errors['lstm']:.1f}")
    axis.set(xlabel="months, none of which was learnt", ylabel="number")
    axis.set_title(f"The same month of the year before is off by {errors['seasonal_naive']:.1f}")
    axis.legend(frameon=False)
    figure.savefig(FIGURE, dpi=150)


def shakespeare() -> dict[str, Any]:
    """The loss on the last twentieth of the text, and what the model writes."""
    text = (_folder() / "tinyshakespeare" / "input.txt").read_text()
    letters = sorted(set(text))
    numbers = np.array([letters.index(letter) for letter in text], np.int64)
    split, length = int(0.95 * len(numbers)), 100

    def windows(part: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        count = (len(part) - 1) // length
        return part[: count * length].reshape(-1, length), part[1 : count * length + 1].reshape(-1, length)

    (x, y), held = windows(numbers[:split]), windows(numbers[split:])
    model = triarch.Sequential(
        [
            layers.Input((None,), dtype="int64"),
            layers.Embedding(len(letters), 48),
            layers.LSTM(256, return_sequences=True),
            layers.Dropout(0.2),
            layers.Dense(len(letters)),
        ]
    )
    epochs = 12
    loss = triarch.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizers.Adam(optimizers.schedules.CosineDecay(5e-3, epochs * (len(x) // 64 + 1))), loss)
    model.fit(x, y, batch_size=64, epochs=epochs, validation_data=held, verbose=2)
    return {"test_loss": model.evaluate(*held, verbose=0), "epochs": epochs, "sample": _written(model, letters, 600)}


def _written(model: Any, letters: list[str], count: int, temperature: float = 0.6) -> str:
    """Letters drawn one after the other, each from the model's probabilities behind those before it."""
    rng, found = np.random.default_rng(1), [letters.index("\n")]
    for _ in range(count):
        logits = model.predict_on_batch(np.array([found[-100:]]))[0, -1].astype(np.float64) / temperature
        chances = np.exp(logits - logits.max())
        found.append(int(rng.choice(len(letters), p=chances / chances.sum())))
    return "".join(letters[number] for number in found)


CASES: dict[str, Callable[[], dict[str, Any]]] = {
    "vowels": vowels,
    "rows": rows,
    "polarity": polarity,
    "sunspots": sunspots,
    "shakespeare": shakespeare,
}


def main() -> None:
    """Train, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1])
    arguments = parser.parse_args()
    path = RESULTS / f"sequences-{datetime.datetime.now(datetime.UTC):%Y-%m-%d}.json"
    # Cases that are not run again stay in this day's record.
    results: dict[str, Any] = json.loads(path.read_text())["cases"] if path.exists() else {}
    for name in arguments.cases:
        for seed in arguments.seeds:
            utils.set_random_seed(seed)
            start = time.perf_counter()
            found = CASES[name]() | {"seconds": round(time.perf_counter() - start, 1)}
            results.setdefault(name, {})[str(seed)] = found
            print(name, seed, *(f"{key} {value}" for key, value in found.items()), flush=True)
            path = record("sequences", {"cases": results}, ["triarch", "torch", "numba"])
    print("written to", path)


if __name__ == "__main__":
    main()
