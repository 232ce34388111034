"""Activation functions: elementwise non-linearities and the softmax family."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from triarch.registry import register
from triarch.serialization import Lookup, resolve
from triarch.tensors import as_float_tensor, keep_logits

_FAMILY = "keras.activations"


@register(_FAMILY)
def linear(x: Any) -> Any:
    """The identity: `x` as it came."""
    return x


@register(_FAMILY)
def relu(x: Any, negative_slope: float = 0.0, max_value: float | None = None, threshold: float = 0.0) -> torch.Tensor:
    """`x` above `threshold` (at most `max_value`), `negative_slope * (x - threshold)` elsewhere."""
    x = as_float_tensor(x)
    if threshold == 0:
        if max_value is None:
            return F.leaky_relu(x, negative_slope) if negative_slope else F.relu(x)
        above = F.hardtanh(x, 0.0, max_value)
    else:
        above = F.threshold(x, threshold, 0.0)
        if max_value is not None:
            above = above.clamp(0.0, max_value)
    return above - negative_slope * F.relu(threshold - x) if negative_slope else above


@register(_FAMILY)
def leaky_relu(x: Any, negative_slope: float = 0.2) -> torch.Tensor:
    """`x` above 0, `negative_slope * x` below."""
    return F.leaky_relu(as_float_tensor(x), negative_slope)


@register(_FAMILY)
def relu6(x: Any) -> torch.Tensor:
    """`min(max(x, 0), 6)`."""
    return F.relu6(as_float_tensor(x))


@register(_FAMILY)
def softmax(x: Any, axis: int | None = -1) -> torch.Tensor:
    """`exp(x) / sum(exp(x))` along `axis`, or over all elements where `axis` is None.

    Along the last axis the result carries `x` as `_logits`, from which losses compute stably.
    """
    x = as_float_tensor(x)
    if axis is None:
        return F.softmax(x.reshape(-1), 0).reshape(x.shape)
    out = F.softmax(x, axis)
    if axis in (-1, x.ndim - 1):
        keep_logits(out, x, "softmax")
    return out


@register(_FAMILY)
def log_softmax(x: Any, axis: int | None = -1) -> torch.Tensor:
    """The logarithm of `softmax(x, axis)`."""
    x = as_float_tensor(x)
    return F.log_softmax(x.reshape(-1), 0).reshape(x.shape) if axis is None else F.log_softmax(x, axis)


@register(_FAMILY)
def sigmoid(x: Any) -> torch.Tensor:
    """`1 / (1 + exp(-x))`; the result carries `x` as `_logits`, from which losses compute stably."""
    x = as_float_tensor(x)
    out = torch.sigmoid(x)
    keep_logits(out, x, "sigmoid")
    return out


@register(_FAMILY)
def log_sigmoid(x: Any) -> torch.Tensor:
    """The logarithm of `sigmoid(x)`."""
    return F.logsigmoid(as_float_tensor(x))


@register(_FAMILY)
def hard_sigmoid(x: Any) -> torch.Tensor:
    """`x / 6 + 0.5`, cut to `[0, 1]`."""
    return F.hardsigmoid(as_float_tensor(x))


@register(_FAMILY)
def hard_sigmoid_of_keras_2(x: Any) -> torch.Tensor:
    """`0.2 * x + 0.5`, cut to `[0, 1]`: what Keras called `hard_sigmoid` before version 3, for models from then."""
    return as_float_tensor(x).mul(0.2).add(0.5).clamp(0.0, 1.0)


@register(_FAMILY)
def sparse_sigmoid(x: Any) -> torch.Tensor:
    """`(x + 1) / 2`, cut to `[0, 1]` (https://arxiv.org/abs/1901.02324)."""
    return F.hardtanh(as_float_tensor(x)).add(1).mul(0.5)


@register(_FAMILY)
def tanh(x: Any) -> torch.Tensor:
    """The hyperbolic tangent."""
    return torch.tanh(as_float_tensor(x))


@register(_FAMILY)
def hard_tanh(x: Any) -> torch.Tensor:
    """`x`, cut to `[-1, 1]`."""
    return F.hardtanh(as_float_tensor(x))


@register(_FAMILY)
def tanh_shrink(x: Any) -> torch.Tensor:
    """`x - tanh(x)`."""
    return F.tanhshrink(as_float_tensor(x))


@register(_FAMILY)
def soft_shrink(x: Any, threshold: float = 0.5) -> torch.Tensor:
    """`x` moved towards 0 by `threshold`, and 0 where it would cross."""
    return F.softshrink(as_float_tensor(x), threshold)


@register(_FAMILY)
def hard_shrink(x: Any, threshold: float = 0.5) -> torch.Tensor:
    """`x` where `|x| > threshold`, else 0."""
    return F.hardshrink(as_float_tensor(x), threshold)


@register(_FAMILY)
def threshold(x: Any, threshold: float, default_value: float) -> torch.Tensor:
    """`x` where `x > threshold`, else `default_value`."""
    return F.threshold(as_float_tensor(x), threshold, default_value)


@register(_FAMILY)
def elu(x: Any, alpha: float = 1.0) -> torch.Tensor:
    """`x` above 0, `alpha * (exp(x) - 1)` below (https://arxiv.org/abs/1511.07289)."""
    return F.elu(as_float_tensor(x), alpha)


@register(_FAMILY)
def selu(x: Any) -> torch.Tensor:
    """The scaled ELU that keeps activations normalised; use it with `LecunNormal` (https://arxiv.org/abs/1706.02515)."""
    return F.selu(as_float_tensor(x))


@register(_FAMILY)
def celu(x: Any, alpha: float = 1.0) -> torch.Tensor:
    """`x` above 0, `alpha * (exp(x / alpha) - 1)` below (https://arxiv.org/abs/1704.07483)."""
    return F.celu(as_float_tensor(x), alpha)


@register(_FAMILY)
def gelu(x: Any, approximate: bool = False) -> torch.Tensor:
    """`x * P(X <= x)` for a standard normal X, or its tanh approximation (https://arxiv.org/abs/1606.08415)."""
    return F.gelu(as_float_tensor(x), approximate="tanh" if approximate else "none")


@register(_FAMILY, "swish")
def silu(x: Any) -> torch.Tensor:
    """`x * sigmoid(x)`, also called swish (https://arxiv.org/abs/1710.05941)."""
    return F.silu(as_float_tensor(x))


@register(_FAMILY, "hard_swish")
def hard_silu(x: Any) -> torch.Tensor:
    """`x * hard_sigmoid(x)`, also called hard swish (https://arxiv.org/abs/1905.02244)."""
    return F.hardswish(as_float_tensor(x))


@register(_FAMILY)
def mish(x: Any) -> torch.Tensor:
    """`x * tanh(softplus(x))` (https://arxiv.org/abs/1908.08681)."""
    return F.mish(as_float_tensor(x))


@register(_FAMILY)
def glu(x: Any, axis: int = -1) -> torch.Tensor:
    """`a * sigmoid(b)` for the two halves `a`, `b` of `x` along `axis` (https://arxiv.org/abs/1612.08083)."""
    return F.glu(as_float_tensor(x), axis)


@register(_FAMILY)
def softplus(x: Any) -> torch.Tensor:
    """`log(exp(x) + 1)`."""
    return F.softplus(as_float_tensor(x))


@register(_FAMILY)
def softsign(x: Any) -> torch.Tensor:
    """`x / (|x| + 1)`."""
    return F.softsign(as_float_tensor(x))


@register(_FAMILY)
def squareplus(x: Any, b: float = 4) -> torch.Tensor:
    """`(x + sqrt(x² + b)) / 2` (https://arxiv.org/abs/2112.11687)."""
    x = as_float_tensor(x)
    return (x + (x.square() + b).sqrt()) / 2


@register(_FAMILY)
def sparse_plus(x: Any) -> torch.Tensor:
    """0 below -1, `(x + 1)² / 4` up to 1, `x` above."""
    x = as_float_tensor(x)
    return torch.where(x < 1, F.relu(x + 1).square() / 4, x)


@register(_FAMILY)
def exponential(x: Any) -> torch.Tensor:
    """`exp(x)`."""
    return torch.exp(as_float_tensor(x))


@register(_FAMILY)
def sparsemax(x: Any, axis: int = -1) -> torch.Tensor:
    """The point of the probability simplex along `axis` that is nearest to `x` (https://arxiv.org/abs/1602.02068)."""
    x = as_float_tensor(x).movedim(axis, -1)
    ordered = x.sort(dim=-1, descending=True).values
    sums = ordered.cumsum(-1) - 1
    counts = torch.arange(1, x.shape[-1] + 1, dtype=x.dtype, device=x.device)
    support = (ordered * counts > sums).sum(-1, keepdim=True)  # how many entries stay positive
    tau = sums.gather(-1, support - 1) / support
    return F.relu(x - tau).movedim(-1, axis)


swish = silu
hard_swish = hard_silu


def get(identifier: Any) -> Callable[..., Any]:
    """The activation that a name, config or function stands for; `linear` for None."""
    return linear if identifier is None else resolve(_FAMILY, identifier)


serialize, deserialize = Lookup(_FAMILY).serialize, Lookup(_FAMILY).deserialize
