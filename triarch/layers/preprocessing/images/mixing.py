"""Images mixed with others of their batch, and their labels with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from triarch.layers.arguments import describe
from triarch.layers.preprocessing.images.base import Draws, RandomImageLayer, Transformation, as_range
from triarch.layers.preprocessing.images.boxes import inside, random_boxes
from triarch.registry import register
from triarch.tensors import as_tensor


class _Mixing(RandomImageLayer):
    """A layer whose labels are `mix_weight` of an image's own, and the rest of its partner's."""

    def transform_labels(self, labels: Any, transformation: Transformation = None, training: bool = True) -> Any:
        """The labels of the mixed images, `(batch, classes)`: what each class has of them."""
        if not training or transformation is None:
            return labels
        labels = as_tensor(labels)
        if not labels.is_floating_point() and labels.ndim < 2:
            raise ValueError(
                f"{describe(self)} mixes labels, so they are a number for each class, as `utils.to_categorical` makes "
                f"them. Received: shape {tuple(labels.shape)}, type {labels.dtype}"
            )
        labels = labels.to(self._compute_torch_dtype)
        weights = transformation["mix_weight"].to(labels).reshape(-1, *[1] * (labels.ndim - 1))
        return torch.lerp(_of_partners(labels, transformation), labels, weights)

    def _type_beside(self, name: str, dtype: str) -> str:
        return self.compute_dtype if name == "labels" else dtype


def _of_partners(values: Tensor, transformation: Transformation) -> Tensor:
    return values.index_select(0, transformation["permutation_order"].to(values.device))


def _symmetric_beta(alpha: Tensor, draws: Draws) -> Tensor:
    """Numbers from 0 to 1 of the beta distribution whose parameters are both `alpha`, one for each.

    A gamma variable of shape `a` is one of shape `a + 1` times `u^(1/a)`: in logarithms nothing vanishes, however small
    `alpha` is.
    """
    both = alpha.expand(2, -1)
    gammas = torch._standard_gamma(both + 1, generator=draws.generator)
    logarithms = gammas.log() + draws.uniform(0, 1, *both.shape).neg_().log1p() / both
    return torch.sigmoid(logarithms[0] - logarithms[1])


@register("keras.layers")
class MixUp(_Mixing):
    """Each image with another one of the batch laid over it, and its labels, in training.

    Source: https://arxiv.org/abs/1710.09412. Labels are given in a dict with the images, as `(batch, classes)`.

    Args:
        alpha: The weights are from the beta distribution with both parameters `alpha`: the smaller, the closer to 0
            and 1.
    """

    def __init__(
        self, alpha: float = 0.2, data_format: str | None = None, seed: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(seed, data_format, **kwargs)
        if not alpha > 0:
            raise ValueError(f"`alpha` is a positive number. Received: alpha={alpha!r}")
        self.alpha = alpha

    def _draw(self, shape: Sequence[int], draws: Draws) -> Transformation:
        alpha = draws.empty(shape[0]).fill_(self.alpha)
        return {"permutation_order": draws.order(shape[0]), "mix_weight": _symmetric_beta(alpha, draws)}

    def _transform(self, images: Tensor, transformation: Transformation) -> Tensor:
        images = images.to(self._real_type)
        weights = transformation["mix_weight"].to(images).reshape(-1, 1, 1, 1)
        return torch.lerp(_of_partners(images, transformation), images, weights)


@register("keras.layers")
class CutMix(_Mixing):
    """Each image with a box cut out of another one of the batch, and its labels mixed by area, in training.

    Source: https://arxiv.org/abs/1905.04899. Labels are given in a dict with the images, as `(batch, classes)`.

    Args:
        factor: The part of an image that stays is from the beta distribution, whose parameters, both the same, are
            drawn from this range; one number `f` is `(0, f)`.
    """

    def __init__(
        self, factor: Any = 1.0, seed: int | None = None, data_format: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(seed, data_format, **kwargs)
        self.factor = as_range(factor, "factor", 0, 1, strict=False)

    def _draw(self, shape: Sequence[int], draws: Draws) -> Transformation:
        batch, height, width, _ = shape
        kept = _symmetric_beta(draws.uniform(*self.factor, batch) + 1e-6, draws)
        side = (1 - kept).sqrt()
        boxes = random_boxes(side, side, (height, width), draws)
        left, right, top, bottom = boxes
        return {
            "permutation_order": draws.order(batch),
            "batch_masks": inside(boxes, (height, width)),
            "mix_weight": 1 - (right - left) * (bottom - top) / (height * width),
        }

    def _transform(self, images: Tensor, transformation: Transformation) -> Tensor:
        return torch.where(transformation["batch_masks"], _of_partners(images, transformation), images)
