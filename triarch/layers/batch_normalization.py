"""Normalisation of batches."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.distributed
import torch.nn.functional as F

from triarch import initializers
from triarch.kernels.normalization import Convolution, infer, is_worth_while, normalize
from triarch.layers.abstract import Elementwise, ScaledNormalization, widened
from triarch.layers.arguments import describe
from triarch.layers.masks import behind, fits
from triarch.registry import register


@register("keras.layers")
class BatchNormalization(ScaledNormalization):
    """Each channel to mean 0 and variance 1 over the batch, then scaled and shifted (https://arxiv.org/abs/1502.03167).

    In training with the batch's mean and variance, of which moving averages are kept; in inference with these averages,
    and also in training where `trainable` is False.

    Args:
        axis: Of the channels.
        momentum: `average = average * momentum + value * (1 - momentum)`.
        renorm: Batch renormalisation (https://arxiv.org/abs/1702.03275): corrects the batch's statistics towards the
            averages, within `renorm_clipping`'s `rmin`, `rmax` and `dmax`.
        renorm_momentum: Of the averages that `renorm` corrects towards.
        synchronized: Whether the statistics are those of the batches of all processes (`torch.distributed`).
    """

    def __init__(
        self,
        axis: int = -1,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        moving_mean_initializer: Any = "zeros",
        moving_variance_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        renorm: bool = False,
        renorm_clipping: Mapping[str, float] | None = None,
        renorm_momentum: float = 0.99,
        synchronized: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            epsilon,
            center,
            scale,
            beta_initializer,
            gamma_initializer,
            beta_regularizer,
            gamma_regularizer,
            beta_constraint,
            gamma_constraint,
            **kwargs,
        )
        self.axis = int(axis)
        self.momentum = float(momentum)
        self.moving_mean_initializer = initializers.get(moving_mean_initializer)
        self.moving_variance_initializer = initializers.get(moving_variance_initializer)
        self.renorm = renorm
        self.renorm_clipping = _checked_clipping(renorm_clipping) if renorm else renorm_clipping
        self.renorm_momentum = float(renorm_momentum)
        self.synchronized = synchronized

    untracked = Elementwise.untracked | {"renorm_clipping"}

    def build(self, input_shape: Any) -> None:
        shape = (self._size_of(self.axis, input_shape),)
        self._add_scale_and_shift(shape)
        self.moving_mean = self._add_average(shape, self.moving_mean_initializer, "moving_mean")
        self.moving_variance = self._add_average(shape, self.moving_variance_initializer, "moving_variance")
        if self.renorm:
            self.moving_stddev = self._add_average(shape, "zeros", "moving_stddev")
            self.renorm_mean = self._add_average(shape, self.moving_mean_initializer, "renorm_mean")
            self.renorm_stddev = self._add_average(shape, "zeros", "renorm_stddev")
            with torch.no_grad():
                for deviation in (self.moving_stddev, self.renorm_stddev):
                    deviation.copy_(self.moving_variance.sqrt())

    def _add_average(self, shape: Sequence[int], initializer: Any, name: str) -> Any:
        return self.add_weight(shape, initializer, trainable=False, autocast=False, name=name)

    def call(self, inputs: torch.Tensor, training: bool = False, mask: torch.Tensor | None = None) -> torch.Tensor:
        if mask is None:
            fast = self.normalize(inputs, None, rectifies=False, training=training)
            if fast is not None:
                return fast
        numbers = widened(inputs)
        if not (training and self.trainable):
            outputs = self._inferred(numbers)
        elif mask is None and not self.renorm and not self._is_shared() and numbers.numel():
            outputs = self._learnt(numbers)
        else:
            outputs = self._learnt_in_parts(numbers, mask)
        return outputs.to(self._compute_torch_dtype)

    def normalize(
        self,
        inputs: torch.Tensor,
        residual: torch.Tensor | None,
        rectifies: bool,
        training: bool,
        convolution: Convolution | None = None,
    ) -> torch.Tensor | None:
        """The outputs by compiled code, with a residual added and rectified; None where torch's is to be taken.

        Args:
            convolution: Through which the inputs go first, in training.
        """
        count = inputs.numel() if convolution is None else math.prod(convolution.plan.output_shape)
        is_usual = self.axis % inputs.ndim == inputs.ndim - 1 and inputs.dtype is self._compute_torch_dtype
        if not is_usual or self.renorm or self._is_shared() or not is_worth_while(inputs, count):
            return None
        if training and self.trainable:
            outputs, mean, variance = normalize(
                inputs, self.gamma, self.beta, residual, self.epsilon, rectifies, convolution
            )
            with torch.no_grad():
                self._average(self.moving_mean, mean, self.momentum)
                self._average(self.moving_variance, variance, self.momentum)
            return outputs
        if torch.is_grad_enabled() or convolution is not None:
            return None
        averages = (self.moving_mean, self.moving_variance)
        return infer(inputs, self.gamma, self.beta, *averages, residual, self.epsilon, rectifies)

    def scale_and_shift(self) -> tuple[torch.Tensor, torch.Tensor]:
        """What inference multiplies each channel with, and then adds."""
        scale = torch.rsqrt(self.moving_variance + self.epsilon)
        if self.scale:
            scale = scale * self.gamma
        shift = -self.moving_mean * scale
        return scale, shift + self.beta if self.center else shift

    def _images(self, numbers: torch.Tensor) -> torch.Tensor:
        """As torch's kernels want it: (images, channels, height, width), in memory with channels last or first."""
        axis = self.axis % numbers.ndim
        if axis == numbers.ndim - 1:
            return numbers.reshape(1, math.prod(numbers.shape[:-1]), 1, numbers.shape[-1]).permute(0, 3, 1, 2)
        return numbers.reshape(
            math.prod(numbers.shape[:axis]), numbers.shape[axis], math.prod(numbers.shape[axis + 1 :]), 1
        )

    def _restored(self, images: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        is_last = self.axis % numbers.ndim == numbers.ndim - 1
        return (images.permute(0, 2, 3, 1) if is_last else images).reshape(numbers.shape)

    def _inferred(self, numbers: torch.Tensor) -> torch.Tensor:
        mean, variance = self.moving_mean.to(numbers.dtype), self.moving_variance.to(numbers.dtype)
        outputs = F.batch_norm(
            self._images(numbers), mean, variance, self.gamma, self.beta, training=False, eps=self.epsilon
        )
        return self._restored(outputs, numbers)

    def _learnt(self, numbers: torch.Tensor) -> torch.Tensor:
        outputs, mean, inverse = torch.native_batch_norm(
            self._images(numbers), self.gamma, self.beta, None, None, True, 0.0, self.epsilon
        )
        with torch.no_grad():
            self._average(self.moving_mean, mean, self.momentum)
            self._average(self.moving_variance, inverse.pow(-2) - self.epsilon, self.momentum)
        return self._restored(outputs, numbers)

    @staticmethod
    def _average(average: torch.Tensor, value: torch.Tensor, momentum: float) -> None:
        average.lerp_(value.to(average.dtype), 1 - momentum)

    def _is_shared(self) -> bool:
        return self.synchronized and torch.distributed.is_available() and torch.distributed.is_initialized()

    def _learnt_in_parts(self, numbers: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        mean, variance = self._moments(numbers, mask)
        correction, shift = 1.0, 0.0
        with torch.no_grad():
            if self.renorm:
                deviation = (variance + self.epsilon).sqrt()
                correction, shift = self._renormalized(mean, deviation)
                self._average(self.moving_stddev, deviation, self.momentum)
                self._average(self.moving_mean, mean, self.momentum)
                self.moving_variance.copy_(self.moving_stddev.square() - self.epsilon).clamp_(min=0)
            else:
                self._average(self.moving_mean, mean, self.momentum)
                self._average(self.moving_variance, variance, self.momentum)
        shape = [1] * numbers.ndim
        shape[self.axis] = -1
        factor = torch.rsqrt(variance + self.epsilon) * correction
        offset = shift - mean * factor
        if self.scale:
            factor, offset = factor * self.gamma, offset * self.gamma
        if self.center:
            offset = offset + self.beta
        return numbers * factor.reshape(shape) + offset.reshape(shape)

    def _moments(self, numbers: torch.Tensor, mask: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and variance of each channel, over the steps inside the mask and, if asked, over all processes."""
        channels = numbers.movedim(self.axis, -1).flatten(0, -2)
        if mask is None:
            weights = torch.ones(len(channels), 1, dtype=channels.dtype, device=channels.device)
        else:
            if not fits(mask, numbers.shape):
                raise ValueError(
                    f"{describe(self)} takes a mask of the first axes of its inputs. "
                    f"Received: shapes {tuple(mask.shape)} and {tuple(numbers.shape)}"
                )
            places = behind(mask.bool(), numbers.ndim).expand_as(numbers)
            inside = places.movedim(self.axis, -1).flatten(0, -2)
            channels, weights = torch.where(inside, channels, 0.0), inside.to(channels.dtype)
        count = weights.sum(0)
        total = (channels * weights).sum(0)
        if self._is_shared():
            count, total = _over_processes(torch.cat([count, total])).split([len(count), len(total)])
        least = torch.finfo(channels.dtype).eps
        mean = total / (count + least)
        squares = ((channels - mean).square() * weights).sum(0)
        if self._is_shared():
            squares = _over_processes(squares)
        return mean, squares / (count + least)

    def _renormalized(self, mean: torch.Tensor, deviation: torch.Tensor) -> tuple[Any, Any]:
        clipping = self.renorm_clipping or {}
        correction = (deviation / self.renorm_stddev).clamp(clipping.get("rmin", 0.0), clipping.get("rmax"))
        most = clipping.get("dmax", math.inf)
        shift = ((mean - self.renorm_mean) / self.renorm_stddev).clamp(-most, most)
        self._average(self.renorm_mean, mean, self.renorm_momentum)
        self._average(self.renorm_stddev, deviation, self.renorm_momentum)
        return correction, shift


def _over_processes(sums: torch.Tensor) -> torch.Tensor:
    """The sum over all processes, through which gradients pass."""
    import torch.distributed.nn.functional as over_processes  # slow to load, and needed by few

    return over_processes.all_reduce(sums)


def _checked_clipping(clipping: Mapping[str, float] | None) -> dict[str, float]:
    clipping = dict(clipping or {})
    if not clipping.keys() <= {"rmin", "rmax", "dmax"}:
        raise ValueError(f"`renorm_clipping` may hold 'rmin', 'rmax' and 'dmax'. Received: {clipping}")
    if clipping.get("rmin", 0.0) > clipping.get("rmax", math.inf) or clipping.get("dmax", 0.0) < 0:
        raise ValueError(f"`renorm_clipping` needs rmin <= rmax and dmax >= 0. Received: {clipping}")
    return clipping
