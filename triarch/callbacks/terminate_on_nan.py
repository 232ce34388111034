"""Stopping a training that has diverged."""

from __future__ import annotations

import math
from typing import Any

import torch

from triarch.callbacks.base import Callback
from triarch.callbacks.logs import LazyLogs
from triarch.callbacks.progress import print_message

_BATCHES_BETWEEN_LOOKS = 16


class TerminateOnNaN(Callback):
    """Stops training when the loss is NaN or infinite; with `raise_error` that is a RuntimeError.

    A loss on the CPU is looked at after every batch. On another device that would make the host wait each time, so
    losses stay there for up to 16 batches (never beyond the epoch), and the first bad one among them is reported; the
    updates made meanwhile lose nothing, as the weights are lost with that batch already.
    """

    def __init__(self, raise_error: bool = False) -> None:
        self.raise_error = raise_error
        self._unseen: list[tuple[int, torch.Tensor]] = []  # batches and their losses

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._unseen = []

    def on_batch_end(self, batch: int, logs: Any = None) -> None:
        loss = logs.peek("loss") if isinstance(logs, LazyLogs) else (logs or {}).get("loss")
        if loss is None:
            return
        if isinstance(loss, torch.Tensor):
            loss = loss.detach().reshape(())
        if _is_far(loss):
            self._unseen.append((batch, loss))
            if len(self._unseen) >= _BATCHES_BETWEEN_LOOKS:
                self._look_at_unseen()
        else:
            self._check(batch, float(loss))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._look_at_unseen()

    def _look_at_unseen(self) -> None:
        unseen, self._unseen = self._unseen, []
        if not unseen:
            return
        losses = torch.stack([loss for _, loss in unseen]).tolist()
        for (batch, _), loss in zip(unseen, losses, strict=True):
            if self._check(batch, loss):
                break

    def _check(self, batch: int, loss: float) -> bool:
        """Stop if the loss is bad; whether it is."""
        if math.isfinite(loss):
            return False
        if self.raise_error:
            raise RuntimeError(
                f"The loss of batch {batch} is {loss}. Check the data for NaN; try a smaller learning rate or clipping."
            )
        print_message(f"Batch {batch}: Invalid loss, terminating training")
        self.model.stop_training = True
        return True


def _is_far(loss: Any) -> bool:
    """Whether reading the value would make the host wait for another device."""
    return isinstance(loss, torch.Tensor) and loss.device.type != "cpu"
