"""What a layer's convolution is before its numbers are known."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from triarch.kernels.rectifier import Rectifier
from triarch.kernels.windows import Window, split_shape
from triarch.tensors import dtype_name


class ConvSpec(NamedTuple):
    """A convolution of batches (cross-correlation, as neural networks mean it), from which its plan follows.

    Args:
        shape: Of the inputs, the batch axis included.
        finish: Works on the fresh outputs element by element, in place; a `Rectifier` may be part of a kernel.
        learns: Whether gradients will be wanted.
        is_first: Whether they will be wanted of kernel and bias alone, as of a network's first layer.
        calls: How many such calls are expected, about: what compiled code has to earn its start back with.
    """

    shape: tuple[int, ...]
    window: Window
    groups: int
    filters: int
    finish: Callable[[Tensor], Tensor]
    dtype: torch.dtype = torch.float32
    device: str = "cpu"
    threads: int = 1
    learns: bool = True
    calls: int = 100
    is_first: bool = False

    @property
    def rank(self) -> int:
        """The number of spatial axes."""
        return self.window.rank

    @property
    def batch(self) -> int:
        """How many inputs there are."""
        return self.shape[0]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Of the input's spatial axes."""
        return split_shape(self.shape, self.rank, self.window.data_format)[0]  # type: ignore[return-value]

    @property
    def channels(self) -> int:
        """Of the input."""
        return split_shape(self.shape, self.rank, self.window.data_format)[1]  # type: ignore[return-value]

    @property
    def output_sizes(self) -> tuple[int, ...]:
        """Of the output's spatial axes."""
        return self.window.output_sizes(self.sizes)  # type: ignore[return-value]

    @property
    def images_of_a_thread(self) -> int:
        """How many images the busiest thread has where each has whole ones."""
        return -(-self.batch // self.threads)

    @property
    def margins(self) -> tuple[tuple[int, int], ...]:
        """Places of zeros before and after each spatial axis."""
        return self.window.margins(self.sizes)

    @property
    def gradients(self) -> int:
        """How many of them cost as much as the outputs: that of the kernel, and that of the inputs."""
        return 0 if not self.learns else 1 if self.is_first else 2

    @property
    def rectifier(self) -> Rectifier | None:
        """What a kernel applies to its outputs."""
        return self.finish if isinstance(self.finish, Rectifier) else None

    @property
    def description(self) -> str:
        """The convolution in words."""
        inputs, sizes = ("×".join(map(str, numbers)) for numbers in (self.shape, self.window.sizes))
        outputs = "×".join(map(str, self.window.output_shape(self.shape, self.filters)))
        groups = f" in {self.groups} groups" if self.groups > 1 else ""
        task = ("inference", "training as a first layer", "training")[self.gradients]
        dtype = dtype_name(self.dtype)
        return f"{inputs} -> {outputs} by {sizes}{groups}, {task} in {dtype} on {self.device}"
