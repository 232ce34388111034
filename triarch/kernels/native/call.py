"""A call of kernels, prepared once and made again and again.

After each kernel the caches hold its numbers: what Python then does costs many times what it costs in a loop of its
own. So all that stays the same is kept from one call to the next: memory, addresses, and how the kernels are entered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

import numpy as np
from torch import Tensor

from triarch.kernels.native.machine_code import compiled, expect
from triarch.kernels.native.source import Source
from triarch.kernels.native.team import prepared

Job = np.ndarray[Any, Any]  # one record


def integers_of(job: Job) -> memoryview[int]:
    """The fields of a job, each of 8 bytes, as integers that are set faster than an array's."""
    octets: Any = job.view(np.uint8)
    return memoryview(octets).cast("q")


class Call:
    """A job, the memory that it names, and the kernels that do it; for one thread of the program at a time.

    Args:
        job: One record whose fields all have 8 bytes.
        threads: How many do the job together.
        source_of: From the name of a kernel to the kernel.
        held: Arrays whose addresses are fields of the job.
    """

    def __init__(
        self, job: Job, threads: int, source_of: Callable[[str], Source], **held: np.ndarray[Any, Any]
    ) -> None:
        self.job, self.threads, self.held = job.copy(), threads, held
        self._source_of = source_of
        self._fields = integers_of(self.job)
        self._places = {name: place for place, name in enumerate(job.dtype.names or ())}
        self._starts: dict[tuple[str, int], Callable[[], None]] = {}
        self.place(**{name: array.ctypes.data for name, array in held.items()})

    def place(self, **values: int) -> None:
        """Write integers into fields of the job."""
        for name, value in values.items():
            self._fields[self._places[name]] = value

    def placer(self, *names: str) -> Callable[..., None]:
        """A function that writes integers into these fields."""
        fields, places = self._fields, [self._places[name] for name in names]

        def place(*values: int) -> None:
            for number, value in zip(places, values, strict=True):
                fields[number] = value

        return place

    def place_batch(self, name: str, batch: Tensor, channel: int = 0) -> None:
        """Write where a batch `(images, *sizes, channels)` lies, from one of its channels on.

        The fields are the address `name` and steps `name_image` and on to the last spatial axis.
        """
        self._fields[self._places[name]] = batch.data_ptr() + channel * batch.element_size()
        image, *steps = batch.stride()[:-1]
        self._fields[self._places[f"{name}_image"]] = image
        last = self._places[f"{name}_column"] + 1
        for place, step in enumerate(steps, last - len(steps)):
            self._fields[place] = step

    def run(self, name: str, *later: str) -> None:
        """Do the job by a kernel, divided among the threads.

        Args:
            later: The kernels that will be asked for after this one.
        """
        self._start(name, self.threads, later)

    def run_alone(self, name: str, *later: str) -> None:
        """Do the job by a kernel on the thread that asks for it."""
        self._start(name, 1, later)

    def _start(self, name: str, threads: int, later: Sequence[str]) -> None:
        start = self._starts.get((name, threads))
        if start is None:
            expect(map(self._source_of, later))
            start = self._starts[name, threads] = prepared(compiled(self._source_of(name)), self.job, threads)
        start()


T = TypeVar("T", bound=Call)


class Calls(Generic[T]):
    """Calls of one kind that are free: there are as many as threads of the program that make them at once."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._free: list[T] = []  # taking one out and putting one back are atomic

    @contextmanager
    def one(self) -> Iterator[T]:
        """A call, for as long as the block lasts."""
        call = self.take()
        try:
            yield call
        finally:
            self.give_back(call)

    def take(self) -> T:
        """A call, until it is given back; for those to whom the block of `one` takes too long."""
        try:
            return self._free.pop()
        except IndexError:
            return self._make()

    def give_back(self, call: T) -> None:
        """Let others take it."""
        self._free.append(call)
