"""Whether the chosen methods learn as the vendor's sum does: `scripts/bench train-curves`.

The chapter's network on MNIST, from the same seeds by both: the losses of every step, and the accuracies at the end.
The data are looked for as `triarch.datasets.mnist` does.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

import triarch as keras
from benchmarks.interleaved import record
from benchmarks.networks import CASES


class Losses(keras.callbacks.Callback):
    """Keeps the running loss after every step."""

    def __init__(self) -> None:
        super().__init__()
        self.values: list[float] = []

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Called after a step."""
        self.values.append(float((logs or {})["loss"]))


def main() -> None:
    """Train, compare and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=60_000)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    (x, y), (x_test, y_test) = keras.datasets.mnist.load_data()
    x, x_test = (np.expand_dims(images.astype("float32") / 255, -1) for images in (x, x_test))
    x, y = x[: arguments.images], y[: arguments.images]
    found: dict[str, list[dict[str, float]]] = {"auto": [], "direct": []}
    differences = []
    for seed in range(arguments.seeds):
        curves = {}
        for method, rows in found.items():
            keras.utils.set_random_seed(seed)
            model = CASES["cnn"].build(keras)
            model.compile(loss="sparse_categorical_crossentropy", optimizer="adam", metrics=["accuracy"])
            losses, start = Losses(), time.perf_counter()
            # A part of the data stands for all of them: it is not too short a job for compiled code.
            with keras.kernels.use(method), keras.kernels.expecting(10_000):
                model.fit(x, y, batch_size=128, epochs=arguments.epochs, verbose=0, callbacks=[losses])
                seconds = (time.perf_counter() - start) / arguments.epochs
                accuracy = model.evaluate(x_test, y_test, batch_size=128, verbose=0)[1]
            curves[method] = np.array(losses.values)
            rows.append({"seconds_per_epoch": round(seconds, 1), "test_accuracy": round(accuracy, 4)})
            print(f"seed {seed} {method:7} {seconds:6.1f} s an epoch, test accuracy {accuracy:.4f}", flush=True)
        apart = np.abs(curves["auto"] - curves["direct"]) / curves["direct"]
        median, largest = float(np.median(apart)), float(apart.max())
        differences.append({"median": round(median, 5), "largest": round(largest, 5)})
        print(f"seed {seed}: losses apart by {median:.2%} at the median, {largest:.2%} at most")
    content = {"images": arguments.images, "epochs": arguments.epochs, "runs": found, "losses_apart": differences}
    print("written to", record("train-curves", content, ["triarch", "torch", "numba"]))


if __name__ == "__main__":
    main()
