"""Logs: the named values that a step or a pass reports, and when they come to the host."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any

import numpy as np
import torch


class LazyLogs(MutableMapping[str, Any]):
    """The values of a batch, fetched when first looked at: fetching makes the host wait for the device.

    Always true, so that `logs or {}` fetches nothing. A step of one's own may add values to them.

    Args:
        fetch: Gives all the values, as numbers.
        single: Functions that give one value as it is on the device, without the others and without waiting.
    """

    def __init__(
        self, fetch: Callable[[], Mapping[str, Any]], single: Mapping[str, Callable[[], Any]] | None = None
    ) -> None:
        self._fetch = fetch
        self._values: dict[str, Any] | None = None
        self.single = single or {}
        self.changed = False  # whether somebody added or removed values

    def _fetched(self) -> dict[str, Any]:
        if self._values is None:
            self._values = dict(self._fetch())
        return self._values

    def peek(self, name: str) -> Any:
        """One value, None where there is none: as a tensor on its device, if it can be had without fetching all."""
        if self._values is None and name in self.single:
            return self.single[name]()
        return self.get(name)

    def __getitem__(self, name: str) -> Any:
        return self._fetched()[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self._fetched()[name] = value
        self.changed = True

    def __delitem__(self, name: str) -> None:
        del self._fetched()[name]
        self.changed = True

    def __iter__(self) -> Iterator[str]:
        return iter(self._fetched())

    def __len__(self) -> int:
        return len(self._fetched())

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return repr(dict(self))

    def copy(self) -> dict[str, Any]:
        """The values as a dict."""
        return dict(self)


def lazy_logs(logs: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Logs for a batch hook; where a step of the user's own gave tensors, these become numbers when looked at."""
    if logs is None:
        return {}
    if isinstance(logs, LazyLogs) and not logs.changed:
        return LazyLogs(logs.copy, logs.single)  # what a callback adds is no part of what the step reported
    return LazyLogs(
        lambda: {name: _plain(value) for name, value in flattened(logs)},
        {name: lambda value=value: value for name, value in flattened(logs)},  # type: ignore[misc]
    )


def as_floats(logs: Mapping[str, Any]) -> dict[str, Any]:
    """Logs sorted by name, their scalars as Python floats: the one place where training waits for the device."""
    floats: dict[str, Any] = {}
    for name, value in flattened(logs):
        if isinstance(value, torch.Tensor):
            value = value.detach().float().cpu().numpy()
        floats[name] = float(value) if np.ndim(value) == 0 else value
    return floats


def flattened(logs: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Names and values sorted by name; a value that is a dict, of a metric with several results, gives its own."""
    for name in sorted(logs):
        if isinstance(logs[name], dict):
            yield from flattened(logs[name])
        else:
            yield name, logs[name]


def _plain(value: Any) -> Any:
    if isinstance(value, (torch.Tensor, np.ndarray, np.generic)) and value.ndim == 0:
        return value.item()
    return value
