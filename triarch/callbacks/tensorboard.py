"""Logs for TensorBoard."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from triarch.callbacks.base import Callback
from triarch.files import naming


def _naming_folder(method: Callable[..., None]) -> Callable[..., None]:
    """A hook that writes; where there is no room for it, the error names the folder."""

    @functools.wraps(method)
    def write(self: TensorBoard, *args: Any, **kwargs: Any) -> None:
        with naming(self.log_dir):
            method(self, *args, **kwargs)

    return write


class TensorBoard(Callback):
    """Writes logs as TensorBoard events to `log_dir/train` and `log_dir/validation`.

    Needs the package `tensorboard`; look at the events with `tensorboard --logdir logs`.

    Args:
        histogram_freq: Write histograms of the weights' finite values every so many epochs; 0 for never.
        write_graph: Write the model's summary as text, after the first epoch.
        write_steps_per_second: Write how many training steps an epoch made a second.
        update_freq: `"epoch"`, or `"batch"` or a number of batches, to write training values within epochs too.

    Raises:
        ImportError: TensorBoard is not installed.
        ValueError: an argument asks for what is not supported (`write_images`, `profile_batch`, `embeddings_freq`).
    """

    def __init__(
        self,
        log_dir: str | os.PathLike[str] = "logs",
        histogram_freq: int = 0,
        write_graph: bool = True,
        write_images: bool = False,
        write_steps_per_second: bool = False,
        update_freq: str | int = "epoch",
        profile_batch: int = 0,
        embeddings_freq: int = 0,
        embeddings_metadata: Any = None,
    ) -> None:
        unsupported = {
            "write_images": write_images,
            "profile_batch": profile_batch,
            "embeddings_freq": embeddings_freq,
            "embeddings_metadata": embeddings_metadata,
        }
        asked = {name: value for name, value in unsupported.items() if value}
        if asked:
            raise ValueError(f"TensorBoard does not support {', '.join(asked)}; leave it out. Received: {asked}")
        if update_freq not in ("epoch", "batch") and (not isinstance(update_freq, int) or update_freq < 1):
            raise ValueError(f"update_freq must be 'epoch', 'batch' or a number of batches. Received: {update_freq!r}")
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ImportError(
                'The TensorBoard callback needs the package `tensorboard`: pip install "triarch[tensorboard]"'
            ) from error
        self.log_dir = os.fspath(log_dir)
        self.histogram_freq = histogram_freq
        self.write_graph = write_graph
        self.write_steps_per_second = write_steps_per_second
        self.update_freq = 1 if update_freq == "batch" else update_freq
        self._writer_class = SummaryWriter
        self._writers: dict[str, Any] = {}
        self._has_summary = False
        self._batches = 0
        self._epoch_start = (0.0, 0)  # time, batches

    def _writer(self, part: str) -> Any:
        if part not in self._writers:
            self._writers[part] = self._writer_class(str(Path(self.log_dir) / part))
        return self._writers[part]

    def on_train_begin(self, logs: Any = None) -> None:
        self._batches = 0

    @_naming_folder
    def on_train_end(self, logs: Any = None) -> None:
        for writer in self._writers.values():
            writer.close()
        self._writers = {}

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._epoch_start = time.perf_counter(), self._batches

    @_naming_folder
    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._batches += 1
        if self.update_freq != "epoch" and self._batches % self.update_freq == 0:  # type: ignore[operator]
            for name, value in (logs or {}).items():
                self._writer("train").add_scalar(f"batch_{name}", value, self._batches)

    @_naming_folder
    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        train = {name: value for name, value in (logs or {}).items() if not name.startswith("val_")}
        validation = {name[4:]: value for name, value in (logs or {}).items() if name.startswith("val_")}
        if hasattr(self.model.optimizer, "learning_rate"):
            train["learning_rate"] = float(self.model.optimizer.learning_rate)
        if self.write_steps_per_second:
            start, batches = self._epoch_start
            train["steps_per_second"] = (self._batches - batches) / (time.perf_counter() - start)
        for part, values in (("train", train), ("validation", validation)):
            for name, value in values.items():
                self._writer(part).add_scalar(f"epoch_{name}", value, epoch)
        if self.histogram_freq and epoch % self.histogram_freq == 0:
            for name, weight in _named_weights(self.model):
                finite = weight.detach()[weight.isfinite()]  # the writer refuses a histogram of nothing
                if len(finite):
                    self._writer("train").add_histogram(f"{name}/histogram", finite, epoch)
        if self.write_graph and not self._has_summary:
            self._has_summary = True
            lines: list[str] = []
            self.model.summary(print_fn=lambda line, **_: lines.append(line))
            self._writer("train").add_text("model", "```\n" + "\n".join(lines) + "\n```", epoch)
        for writer in self._writers.values():
            writer.flush()

    @_naming_folder
    def on_test_end(self, logs: Any = None) -> None:
        iterations = getattr(self.model.optimizer, "iterations", None)
        if iterations is not None:
            for name, value in (logs or {}).items():
                self._writer("validation").add_scalar(f"evaluation_{name}_vs_iterations", value, int(iterations))
            self._writer("validation").flush()


def _named_weights(model: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """The weights by their paths; those of plain torch modules, which have none, by torch's names for them."""
    torch_names = {id(tensor): name for name, tensor in (*model.named_parameters(), *model.named_buffers())}
    for weight in model.weights:
        yield getattr(weight, "path", None) or torch_names[id(weight)].replace(".", "/"), weight
