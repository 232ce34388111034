"""What the calls that run in this thread say of layers; layers, which other threads use too, are not written to."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch


class Running(threading.local):
    """Of this thread."""

    def __init__(self) -> None:
        self.is_in_call = False  # whether a layer's call runs
        self.modes: dict[int, bool] | None = None  # layer (its id) -> whether it trains, while somebody has said so
        # Weights that the running layer has read in another type than the one they are kept in: (id, type, whether
        # gradients are wanted) -> weight, its version, what was read. None where no layer that does so runs.
        self.casts: dict[tuple[int, torch.dtype, bool], tuple[torch.Tensor, int, torch.Tensor]] | None = None


running = Running()


@contextmanager
def reading_casts() -> Iterator[None]:
    """Inside this context, layers of mixed policies give their weights in the type that they compute in."""
    outer, running.casts = running.casts, {}
    try:
        yield
    finally:
        running.casts = outer


@contextmanager
def reading_as_kept() -> Iterator[None]:
    """Inside this context, all weights have the type that they are kept in."""
    outer, running.casts = running.casts, None
    try:
        yield
    finally:
        running.casts = outer


def modules_of(module: torch.nn.Module) -> Iterator[torch.nn.Module]:
    """A module and all those inside, each once, as `modules()` gives them; another thread may add some meanwhile."""
    found: set[int] = set()
    pending: list[torch.nn.Module | None] = [module]
    while pending:
        part = pending.pop()
        if part is not None and id(part) not in found:
            found.add(id(part))
            yield part
            pending.extend(reversed(list(part._modules.values())))  # a list at once: no other thread comes between


class Collected(threading.local):
    """The loss terms that a layer collects; each thread's calls have their own."""

    def __init__(self) -> None:
        self.terms: list[torch.Tensor] = []


class ModeHolder(torch.nn.Module):
    """The part of `Layer` that knows whether it trains or infers; an interface, never made by itself."""

    @property
    def training(self) -> bool:
        """Whether the layer trains or infers: what `mode` says in this thread, else torch's flag, False at first."""
        modes = running.modes
        if modes is None:
            return self.__dict__["training"]
        return modes.get(id(self), self.__dict__["training"])

    @training.setter
    def training(self, value: bool) -> None:
        modes = running.modes
        if modes is not None and id(self) in modes:
            modes[id(self)] = value
        else:
            self.__dict__["training"] = value

    def mode(self, training: bool) -> AbstractContextManager[None]:
        """Inside this context the layer, and every one in it, trains or infers as `training` says, in this thread.

        Modules of torch itself have one flag for all threads, which is set as long.
        """
        return mode(self, training)


@contextmanager
def mode(module: torch.nn.Module, training: bool) -> Iterator[None]:
    """`ModeHolder.mode` of any module."""
    outer = running.modes
    modes, flags = dict(outer or ()), []
    for part in modules_of(module):
        if isinstance(part, ModeHolder):
            modes[id(part)] = training
        elif part.training != training:
            flags.append(part)
            part.training = training
    running.modes = modes
    try:
        yield
    finally:
        running.modes = outer
        for part in flags:
            part.training = not training
