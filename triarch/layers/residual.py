"""Residual learning: `y = F(x, W) + W_s x` for any layer or model as `F`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from triarch import activations
from triarch.layers.arguments import describe
from triarch.layers.base import Layer
from triarch.layers.batch_normalization import BatchNormalization
from triarch.layers.convolutional import Conv1D, Conv2D, Conv3D
from triarch.layers.core import Dense
from triarch.layers.fusion import FusedNormalization, fused_stack
from triarch.layers.masks import behind, carrying
from triarch.layers.shapes import infer_output_shape
from triarch.layers.torch_modules import TorchModuleWrapper
from triarch.random import SeedGenerator
from triarch.registry import register
from triarch.tensors import kept_mask

SHORTCUTS = ("auto", "identity", "projection", "zero_pad")
_PROJECTIONS = {1: Conv1D, 2: Conv2D, 3: Conv3D}
_TRIAL_SIZE = 64  # in the place of spatial sizes that are unknown


@register("triarch.layers")
class Residual(Layer):
    """`activation(scale * F(x) + shortcut(x))` (https://arxiv.org/abs/1512.03385).

    Args:
        block: `F`: a layer, a model, a torch module, or a list of them to be called one after the other.
        shortcut: `"identity"`; `"projection"`, a learnt linear map at every place (`W_s x`, without a bias);
            `"zero_pad"`, the input with channels of zeros added; a layer; or `"auto"`, which projects where the shapes
            of the input and of `F(x)` ask for it. Where the block has strides, so has the shortcut.
        scale: A constant, or `"rezero"`: a number that is learnt, from 0 on (https://arxiv.org/abs/2003.04887).
        drop_path: The probability of leaving `F(x)` out for a sample in training (https://arxiv.org/abs/1603.09382);
            what stays is divided by the probability to stay.
        zero_init_last: Whether the last scale or kernel in the block begins at 0, so that the whole begins as its
            shortcut.
    """

    def __init__(
        self,
        block: Any,
        shortcut: Any = "auto",
        scale: float | str = 1.0,
        drop_path: float = 0.0,
        activation: Any = None,
        zero_init_last: bool = False,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        members = list(block) if isinstance(block, (list, tuple)) else [block]
        if not members or not all(isinstance(member, torch.nn.Module) for member in members):
            raise ValueError(
                f"`block` is a layer, a model, a torch module or a list of them. Received: block={block!r}"
            )
        if not isinstance(shortcut, torch.nn.Module) and shortcut not in SHORTCUTS:
            raise ValueError(f"`shortcut` is a layer or one of {SHORTCUTS}. Received: shortcut={shortcut!r}")
        if scale != "rezero" and not isinstance(scale, (int, float)):
            raise ValueError(f"`scale` is a number or 'rezero'. Received: scale={scale!r}")
        if not 0 <= drop_path < 1:
            raise ValueError(f"`drop_path` is a probability from 0 to below 1. Received: drop_path={drop_path!r}")
        self.block = members if isinstance(block, (list, tuple)) else block
        self.shortcut = shortcut
        self.scale = scale
        self.drop_path = drop_path
        self.activation = activations.get(activation)
        self.zero_init_last = zero_init_last
        self.seed = seed
        self.seed_generator = SeedGenerator(seed)
        self.projection: Any = None
        self.factor: Any = None
        self._strides: tuple[int, ...] = ()
        self._channels_added = 0
        self._operations: list[Any] = []  # the block's parts, put together where that is faster
        self._ending: FusedNormalization | None = None  # the last of them with sum and activation

    untracked = Layer.untracked | {"_operations"}
    supports_masking = True
    makes_mask = False

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """None: the call leaves the mask of a sum on the outputs."""

    def symbolic_masks(self, inputs: Any, *_: Any, **__: Any) -> Any:
        """That of the sum, were block and shortcut called on these inputs."""
        outputs = inputs
        for member in self.members:
            outputs = member(outputs) if isinstance(member, Layer) else TorchModuleWrapper(member)(outputs)
        shortcut = self.shortcut(inputs) if isinstance(self.shortcut, Layer) else inputs
        return None if self._strides else _mask_of_sum(kept_mask(outputs), kept_mask(shortcut))

    @property
    def members(self) -> Sequence[torch.nn.Module]:
        """The parts of the block, one after the other."""
        return self.block if isinstance(self.block, (list, tuple)) else [self.block]

    def build(self, input_shape: Any) -> None:
        made = self._block_shape(input_shape)
        if not isinstance(self.shortcut, torch.nn.Module):
            self._lay_shortcut(tuple(input_shape), tuple(made))
        elif isinstance(self.shortcut, Layer) and not self.shortcut.built:
            self.shortcut.build(input_shape)
        if self.scale == "rezero":
            self.factor = self.add_weight((), "zeros", name="scale")
        if self.zero_init_last:
            self._zero_last()
        self._put_together()

    def _block_shape(self, shape: Any) -> Any:
        for member in self.members:
            if isinstance(member, Layer):
                if not member.built:
                    member.build(shape)
                shape = member.compute_output_shape(shape)
            else:
                shape = infer_output_shape(member, shape, self._compute_torch_dtype)
        return shape

    def _lay_shortcut(self, given: tuple[Any, ...], made: tuple[Any, ...]) -> None:
        if len(given) != len(made) or len(given) < 2 or given[-1] is None:
            raise ValueError(
                f"{describe(self)} adds what has the axes of its input, the last of known size. "
                f"Received: a block that makes {made} of {given}"
            )
        if None in given[1:-1]:
            known = (given[0], *(size or _TRIAL_SIZE for size in given[1:-1]), given[-1])
            sizes = list(zip(known[1:-1], self._block_shape(known)[1:-1], strict=True))
        else:
            sizes = list(zip(given[1:-1], made[1:-1], strict=True))
        strides = tuple(-(-size // out) if out else 0 for size, out in sizes)
        if any(not stride or -(-size // stride) != out for stride, (size, out) in zip(strides, sizes, strict=True)):
            raise ValueError(
                f"{describe(self)}: no stride of the shortcut gives the block's shape. Received: a block that makes "
                f"{made} of {given}"
            )
        differs = made[-1] != given[-1] or max(strides, default=1) > 1
        kind = ("projection" if differs else "identity") if self.shortcut == "auto" else self.shortcut
        self._strides = strides if max(strides, default=1) > 1 else ()
        if kind == "projection":
            rank = len(given) - 2
            options: dict[str, Any] = {"use_bias": False, "dtype": self.dtype_policy, "name": "projection"}
            filters = made[-1]
            self.projection = Dense(filters, **options) if rank == 0 else _PROJECTIONS[rank](filters, 1, **options)
            self.projection.build(given)
        elif kind == "zero_pad":
            self._channels_added = made[-1] - given[-1]
            if self._channels_added < 0:
                raise ValueError(
                    f"{describe(self)}: zeros can be added to {given[-1]} channels, not taken away. "
                    f"Received: a block that makes {made} of {given}"
                )
        elif differs:
            raise ValueError(
                f"{describe(self)}: the identity needs a block that keeps the shape; use shortcut='projection' or "
                f"'zero_pad'. Received: a block that makes {made} of {given}"
            )

    def _put_together(self) -> None:
        self._operations = fused_stack(self.members)
        last = self._operations[-1]
        if type(last) is BatchNormalization:
            last = FusedNormalization(last)
        is_plain = self.scale == 1.0 and self.activation in (activations.linear, activations.relu)
        if is_plain and type(last) is FusedNormalization and last.rectifier is None:
            rectifier = activations.relu if self.activation is activations.relu else None
            self._ending = FusedNormalization(last.normalization, last.convolution, _sum, rectifier, last.padding)

    def _zero_last(self) -> None:
        last = None
        for member in self.members:
            for module in member.modules():
                for name in ("gamma", "kernel", "weight"):
                    weight = getattr(module, name, None)
                    last = weight if isinstance(weight, torch.nn.Parameter) else last
        if last is None:
            raise ValueError(f"{describe(self)}: the block has no scale or kernel that could begin at 0.")
        with torch.no_grad():
            last.zero_()

    def call(self, inputs: torch.Tensor, training: bool = False) -> torch.Tensor:
        outputs: Any = inputs
        *first, last = self._operations
        for operation in first:
            outputs = operation(outputs)
        shortcut = self._shortcut_of(inputs)
        if self._ending is not None and not (training and self.drop_path):
            own = kept_mask(outputs) if self._ending.convolution is None else None
            return carrying(self._ending(outputs, shortcut), _mask_of_sum(own, kept_mask(shortcut)))
        outputs = last(outputs)
        own = kept_mask(outputs)
        if self.factor is not None:
            outputs = outputs * self.factor
        elif self.scale != 1.0:
            outputs = outputs * self.scale
        if training and self.drop_path:
            outputs = self._dropped(outputs)
        return carrying(self.activation(outputs + shortcut), _mask_of_sum(own, kept_mask(shortcut)))

    def _shortcut_of(self, inputs: torch.Tensor) -> torch.Tensor:
        mask = kept_mask(inputs)
        if isinstance(self.shortcut, torch.nn.Module) or mask is None:
            return self._plain_shortcut_of(inputs)
        plain = self._plain_shortcut_of(inputs.view_as(inputs))  # without a mask, which strides of 1 leave as it is
        return plain if self._strides else carrying(plain, mask)

    def _plain_shortcut_of(self, inputs: torch.Tensor) -> torch.Tensor:
        if isinstance(self.shortcut, torch.nn.Module):
            return self.shortcut(inputs)
        if self._strides:
            # Before the product, not in it: fewer places, and a case that the vendor's library does not do safely.
            inputs = inputs[(slice(None), *(slice(None, None, stride) for stride in self._strides))]
        if self.projection is not None:
            return self.projection(inputs)
        if self._channels_added:
            return torch.nn.functional.pad(inputs, (0, self._channels_added))
        return inputs

    def _dropped(self, outputs: torch.Tensor) -> torch.Tensor:
        kept = 1 - self.drop_path
        draws = torch.rand(len(outputs), generator=self.seed_generator.on(outputs.device), device=outputs.device)
        factors = (draws < kept).to(outputs.dtype) / kept
        return outputs * factors.reshape(-1, *(1,) * (outputs.ndim - 1))

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The shape that the block makes."""
        return self._block_shape(input_shape)


def _mask_of_sum(own: Any, other: Any) -> Any:
    """What counts in one of two tensors; None where one of them counts everywhere."""
    if own is None or other is None:
        return None
    ndim = max(own.ndim, other.ndim)
    return torch.logical_or(behind(own, ndim), behind(other, ndim))


def _sum(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    shortcut, outputs = parts
    return outputs + shortcut
