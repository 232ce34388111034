"""What ResNet-20 learns of CIFAR-10 in about an hour of a machine of two cores: accuracy on the test images by epoch.

The paper's network, batches, augmentation (images shifted by up to 4 pixels, half of them mirrored) and optimizer, on
all 50,000 images; the rate rises for one epoch and then falls along a cosine, as fewer epochs than the paper's want.
`scripts/bench cifar10 [--epochs 32]` writes a record and a figure; `--figure-only` draws the newest record again.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

import triarch
from benchmarks.degradation import Augmented, Settings, images_of, network
from benchmarks.interleaved import RESULTS, record
from triarch import callbacks, optimizers
from triarch.optimizers import schedules

FIGURE = RESULTS / "cifar10.png"


class _Clock(callbacks.Callback):
    """Seconds since the beginning of training, at the end of each epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def on_train_begin(self, logs: Any = None) -> None:
        """Start."""
        self._began = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Take the time."""
        self.seconds.append(round(time.perf_counter() - self._began, 1))


def trained(settings: Settings) -> dict[str, Any]:
    """Losses, accuracies and times by epoch."""
    (x, y), test = images_of(settings.images)
    triarch.utils.set_random_seed(settings.seeds[0])
    model = network(settings.depths[0], True, settings)
    rate = schedules.CosineDecay(
        0.0,
        settings.steps - settings.warmup_steps,
        warmup_target=settings.learning_rate,
        warmup_steps=settings.warmup_steps,
    )
    optimizer = optimizers.SGD(rate, momentum=0.9, nesterov=True)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    clock, images = _Clock(), Augmented(x, y, settings.batch_size, settings.seeds[0])
    history = model.fit(
        images, epochs=settings.steps // len(images), validation_data=test, callbacks=[clock], verbose=2
    ).history
    rounded = {name: [round(value, 4) for value in values] for name, values in history.items()}
    return {**rounded, "seconds": clock.seconds}


def draw(content: dict[str, Any], path: Path) -> None:
    """Accuracy by epoch, of the training images as they are augmented and of the test images."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(6, 3.6), layout="constrained")
    epochs = range(1, len(content["seconds"]) + 1)
    for name, label in (("accuracy", "training images, augmented"), ("val_accuracy", "test images")):
        axis.plot(epochs, [100 * value for value in content[name]], label=label)
    title = f"ResNet-20 on CIFAR-10, {content['seconds'][-1] / 60:.0f} minutes"
    axis.set(xlabel="epoch", ylabel="accuracy, %", title=title)
    axis.grid(alpha=0.3)
    axis.legend(frameon=False)
    figure.savefig(path, dpi=150)


def main() -> None:
    """Train, unless only the figure is wanted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=32)
    parser.add_argument("--figure-only", action="store_true", help="from the newest record")
    arguments = parser.parse_args()
    if arguments.figure_only:
        path = max(RESULTS.glob("cifar10-*.json"))
    else:
        images, batch = 50_000, 128
        settings = Settings(
            (20,), (16, 32, 64), images, arguments.epochs * (images // batch), batch, 0.1, 5e-4, True, images // batch
        )
        content = {"threads": torch.get_num_threads(), "settings": asdict(settings), **trained(settings)}
        path = Path(record("cifar10", content, ["triarch", "torch", "numpy"]))
    content = json.loads(path.read_text())
    draw(content, FIGURE)
    accuracy, minutes = 100 * content["val_accuracy"][-1], content["seconds"][-1] / 60
    print(f"{accuracy:.2f} % of the test images after {len(content['seconds'])} epochs, {minutes:.1f} minutes")
    print(f"record {path.name}, figure {FIGURE.name}")


if __name__ == "__main__":
    main()
