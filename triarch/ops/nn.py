"""What layers are made of: activations, convolutions, poolings, normalisations, losses number by number."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from triarch import activations, config
from triarch.config import standardize_data_format
from triarch.kernels import Window, convolve, plan_pooling, pool
from triarch.kernels.transposed import convolve_transposed
from triarch.ops.table import as_float, axes_of, op, tensor
from triarch.tensors import torch_dtype
from triarch.watching import planner, sizes_of

__all__ = [
    "average_pool",
    "batch_normalization",
    "binary_crossentropy",
    "categorical_crossentropy",
    "celu",
    "conv",
    "conv_transpose",
    "depthwise_conv",
    "dot_product_attention",
    "elu",
    "gelu",
    "glu",
    "hard_sigmoid",
    "hard_silu",
    "hard_swish",
    "hard_tanh",
    "layer_normalization",
    "leaky_relu",
    "log_sigmoid",
    "log_softmax",
    "max_pool",
    "moments",
    "multi_hot",
    "normalize",
    "one_hot",
    "psnr",
    "relu",
    "relu6",
    "selu",
    "separable_conv",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "softsign",
    "sparse_categorical_crossentropy",
    "swish",
]


@op("nn")
def relu(x: Any) -> Any:
    """`max(x, 0)`."""
    return activations.relu(tensor(x))


@op("nn")
def relu6(x: Any) -> Any:
    """`min(max(x, 0), 6)`."""
    return activations.relu6(x)


@op("nn")
def sigmoid(x: Any) -> Any:
    """`1 / (1 + exp(-x))`."""
    return activations.sigmoid(x)


@op("nn")
def softplus(x: Any) -> Any:
    """`log(1 + exp(x))`."""
    return activations.softplus(x)


@op("nn")
def softsign(x: Any) -> Any:
    """`x / (1 + |x|)`."""
    return activations.softsign(x)


@op("nn")
def silu(x: Any) -> Any:
    """`x * sigmoid(x)`."""
    return activations.silu(x)


swish = silu


@op("nn")
def log_sigmoid(x: Any) -> Any:
    """`log(sigmoid(x))`, without overflow."""
    return activations.log_sigmoid(x)


@op("nn", config=("negative_slope",))
def leaky_relu(x: Any, negative_slope: float = 0.2) -> Any:
    """`x` above 0, `negative_slope * x` below."""
    return activations.leaky_relu(x, negative_slope)


@op("nn")
def hard_sigmoid(x: Any) -> Any:
    """`relu6(x + 3) / 6`."""
    return activations.hard_sigmoid(x)


@op("nn")
def hard_silu(x: Any) -> Any:
    """`x * hard_sigmoid(x)`."""
    return activations.hard_silu(x)


hard_swish = hard_silu


@op("nn", config=("alpha",))
def elu(x: Any, alpha: float = 1.0) -> Any:
    """`x` above 0, `alpha * (exp(x) - 1)` below."""
    return activations.elu(x, alpha)


@op("nn")
def selu(x: Any) -> Any:
    """A scaled `elu` that keeps mean and variance."""
    return activations.selu(x)


@op("nn", config=("alpha",))
def celu(x: Any, alpha: float = 1.0) -> Any:
    """`max(x, 0) + min(alpha * (exp(x / alpha) - 1), 0)`."""
    return activations.celu(x, alpha)


@op("nn", config=("approximate",))
def gelu(x: Any, approximate: bool = True) -> Any:
    """`x` times the normal distribution's probability below it, by a formula with tanh unless exact."""
    return activations.gelu(x, approximate)


@op("nn", config=("axis",))
def glu(x: Any, axis: int = -1) -> Any:
    """The first half along the axis, times the sigmoid of the second."""
    return activations.glu(x, axis)


@op("nn")
def hard_tanh(x: Any) -> Any:
    """`x`, at least -1 and at most 1."""
    return activations.hard_tanh(x)


@op("nn", config=("axis",))
def softmax(x: Any, axis: int = -1) -> Any:
    """`exp(x) / sum(exp(x))` along the axis."""
    return activations.softmax(x, axis)


@op("nn", config=("axis",))
def log_softmax(x: Any, axis: int = -1) -> Any:
    """The logarithm of `softmax`, without overflow."""
    return activations.log_softmax(x, axis)


def _window(sizes: Any, strides: Any, dilation: Any, padding: str, data_format: str, rank: int) -> Window:
    def for_axes(value: Any) -> tuple[int, ...]:
        return (value,) * rank if hasattr(value, "__index__") else tuple(value)

    return Window(for_axes(sizes), for_axes(strides), for_axes(dilation), padding.lower(), data_format)


def _as_is(x: torch.Tensor) -> torch.Tensor:
    return x


def _convolve(
    inputs: Any, kernel: torch.Tensor, strides: Any, padding: str, data_format: Any, dilation: Any, groups: int
) -> torch.Tensor:
    inputs, data_format = tensor(inputs), standardize_data_format(data_format)
    rank = inputs.ndim - 2
    window = _window(kernel.shape[:rank], strides, dilation, padding, data_format, rank)
    return convolve(inputs, kernel, None, window._replace(channels=kernel.shape[-2] * groups), groups, _as_is)


@op("nn", config=("strides", "padding", "data_format", "dilation_rate"))
def conv(
    inputs: Any, kernel: Any, strides: Any = 1, padding: str = "valid", data_format: Any = None, dilation_rate: Any = 1
) -> Any:
    """Convolution of 1, 2 or 3 spatial axes with a kernel of shape `(*sizes, channels // groups, filters)`."""
    kernel, inputs = tensor(kernel), tensor(inputs)
    channels = inputs.shape[-1 if standardize_data_format(data_format) == "channels_last" else 1]
    return _convolve(inputs, kernel, strides, padding, data_format, dilation_rate, channels // kernel.shape[-2])


@op("nn", config=("strides", "padding", "data_format", "dilation_rate"))
def depthwise_conv(
    inputs: Any, kernel: Any, strides: Any = 1, padding: str = "valid", data_format: Any = None, dilation_rate: Any = 1
) -> Any:
    """Each channel with its own kernels, of shape `(*sizes, channels, depth_multiplier)` in all."""
    kernel = tensor(kernel)
    *sizes, channels, multiplier = kernel.shape
    kernel = kernel.reshape(*sizes, 1, channels * multiplier)
    return _convolve(inputs, kernel, strides, padding, data_format, dilation_rate, channels)


@op("nn", config=("strides", "padding", "data_format", "dilation_rate"))
def separable_conv(
    inputs: Any,
    depthwise_kernel: Any,
    pointwise_kernel: Any,
    strides: Any = 1,
    padding: str = "valid",
    data_format: Any = None,
    dilation_rate: Any = 1,
) -> Any:
    """A depthwise convolution, then one of size 1 over all channels."""
    outputs = depthwise_conv(inputs, depthwise_kernel, strides, padding, data_format, dilation_rate)
    return conv(outputs, pointwise_kernel, 1, "valid", data_format, 1)


@op("nn", config=("strides", "padding", "output_padding", "data_format", "dilation_rate"))
def conv_transpose(
    inputs: Any,
    kernel: Any,
    strides: Any = 1,
    padding: str = "valid",
    output_padding: Any = None,
    data_format: Any = None,
    dilation_rate: Any = 1,
) -> Any:
    """The adjoint of a convolution, with a kernel of shape `(*sizes, filters, channels)`."""
    inputs, kernel, data_format = tensor(inputs), tensor(kernel), standardize_data_format(data_format)
    rank = inputs.ndim - 2
    window = _window(kernel.shape[:rank], strides, dilation_rate, padding, data_format, rank)
    if hasattr(output_padding, "__index__"):
        output_padding = (output_padding,) * rank
    return convolve_transposed(inputs, kernel, None, window, output_padding)


def _pool(inputs: Any, pool_size: Any, strides: Any, padding: str, data_format: Any, statistic: str) -> torch.Tensor:
    inputs = tensor(inputs)
    rank = inputs.ndim - 2
    strides = pool_size if strides is None else strides
    window = _window(pool_size, strides, 1, padding, standardize_data_format(data_format), rank)
    return pool(planner(plan_pooling)(sizes_of(inputs), window, statistic), inputs)


@op("nn", config=("pool_size", "strides", "padding", "data_format"))
def max_pool(inputs: Any, pool_size: Any, strides: Any = None, padding: str = "valid", data_format: Any = None) -> Any:
    """The largest number in each window."""
    return _pool(inputs, pool_size, strides, padding, data_format, "max")


@op("nn", config=("pool_size", "strides", "padding", "data_format"))
def average_pool(
    inputs: Any, pool_size: Any, strides: Any = None, padding: str = "valid", data_format: Any = None
) -> Any:
    """The mean of each window, without the margins."""
    return _pool(inputs, pool_size, strides, padding, data_format, "average")


@op("nn", config=("num_classes", "axis", "dtype", "sparse"))
def one_hot(x: Any, num_classes: int, axis: int = -1, dtype: Any = None, sparse: bool = False) -> Any:
    """A new axis with 1 at the place of each class and 0 elsewhere; all 0 for classes that there are not."""
    if sparse:
        raise ValueError(f"There are no sparse tensors here: `sparse` is False. Received: {sparse!r}")
    x = tensor(x)
    hot = x.unsqueeze(-1) == torch.arange(num_classes, device=x.device)
    return hot.to(torch_dtype(dtype or config.floatx())).movedim(-1, axis)


@op("nn", config=("num_classes", "axis", "dtype", "sparse"))
def multi_hot(inputs: Any, num_classes: int, axis: int = -1, dtype: Any = None, sparse: bool = False) -> Any:
    """1 at the places of all classes in the rows of `inputs`, 0 elsewhere."""
    hot = one_hot(inputs, num_classes, dtype=dtype, sparse=sparse)
    return hot.amax(-2 if tensor(inputs).ndim > 0 else -1).movedim(-1, axis) if hot.ndim > 1 else hot


@op("nn", config=("axes", "keepdims", "synchronized"))
def moments(x: Any, axes: Any, keepdims: bool = False, synchronized: bool = False) -> tuple[Any, Any]:
    """Mean and variance over the axes.

    Raises:
        ValueError: `synchronized`: there is one copy.
    """
    if synchronized:
        raise ValueError(f"`synchronized` is False here. Received: {synchronized!r}")
    x = as_float(x)
    variance, mean = torch.var_mean(x, axes_of(axes, x.ndim), correction=0, keepdim=keepdims)
    return mean, variance


@op("nn", config=("axis", "epsilon"), class_name="BatchNorm")
def batch_normalization(
    x: Any, mean: Any, variance: Any, axis: int, offset: Any = None, scale: Any = None, epsilon: float = 1e-3
) -> Any:
    """`(x - mean) / sqrt(variance + epsilon) * scale + offset`, with vectors along the axis."""
    x = tensor(x)
    shape = [1] * x.ndim
    shape[axis] = -1
    factor = torch.rsqrt(tensor(variance) + epsilon)
    if scale is not None:
        factor = factor * tensor(scale)
    shift = -tensor(mean) * factor
    if offset is not None:
        shift = shift + tensor(offset)
    return x * factor.reshape(shape) + shift.reshape(shape)


@op("nn", config=("axis", "epsilon"), class_name="LayerNorm")
def layer_normalization(
    x: Any, gamma: Any = None, beta: Any = None, axis: Any = -1, epsilon: float | None = None
) -> Any:
    """Each sample to mean 0 and variance 1 over the axes, then scaled and shifted."""
    x = as_float(x)
    axes = axes_of(axis, x.ndim)
    variance, mean = torch.var_mean(x, axes, correction=0, keepdim=True)
    outputs = (x - mean) * torch.rsqrt(variance + (config.epsilon() if epsilon is None else epsilon))
    shape = [size if each in {place % x.ndim for place in axes} else 1 for each, size in enumerate(x.shape)]
    if gamma is not None:
        outputs = outputs * tensor(gamma).reshape(shape)
    return outputs if beta is None else outputs + tensor(beta).reshape(shape)


@op("nn", config=("axis", "order", "epsilon"))
def normalize(x: Any, axis: int = -1, order: float = 2, epsilon: float | None = None) -> Any:
    """Divided by the norm along the axis, which counts as `epsilon` at least."""
    return F.normalize(as_float(x), order, axis, eps=1e-7 if epsilon is None else epsilon)


def _clipped(output: torch.Tensor) -> torch.Tensor:
    return output.clamp(config.epsilon(), 1 - config.epsilon())


@op("nn", config=("from_logits",), class_name="BinaryCrossentropy")
def binary_crossentropy(target: Any, output: Any, from_logits: bool = False) -> Any:
    """The cross-entropy of two classes, number by number."""
    target, output = as_float(target), as_float(output)
    if from_logits:
        return F.binary_cross_entropy_with_logits(output, target, reduction="none")
    return F.binary_cross_entropy(_clipped(output), target, reduction="none")


@op("nn", config=("from_logits", "axis"), class_name="CategoricalCrossentropy")
def categorical_crossentropy(target: Any, output: Any, from_logits: bool = False, axis: int = -1) -> Any:
    """The cross-entropy of distributions along the axis."""
    target, output = as_float(target), as_float(output)
    if from_logits:
        return -(target * F.log_softmax(output, axis)).sum(axis)
    return -(target * torch.log(_clipped(output / output.sum(axis, keepdim=True)))).sum(axis)


@op("nn", config=("from_logits", "axis"), class_name="SparseCategoricalCrossentropy")
def sparse_categorical_crossentropy(target: Any, output: Any, from_logits: bool = False, axis: int = -1) -> Any:
    """The cross-entropy of distributions along the axis and the numbers of the true classes."""
    target, output = tensor(target).long(), as_float(output)
    if target.ndim == output.ndim:
        target = target.squeeze(axis)
    logs = F.log_softmax(output, axis) if from_logits else torch.log(_clipped(output / output.sum(axis, keepdim=True)))
    return -torch.take_along_dim(logs, target.unsqueeze(axis), axis).squeeze(axis)


@op("nn", config=("is_causal",), class_name="DotProductAttention")
def dot_product_attention(
    query: Any,
    key: Any,
    value: Any,
    bias: Any = None,
    mask: Any = None,
    scale: float | None = None,
    is_causal: bool = False,
) -> Any:
    """Attention between `(batch, length, heads, features)`: values averaged by the softmax of the queries' products."""
    q, k, v = (as_float(part).transpose(1, 2) for part in (query, key, value))
    allowed: Any = None if mask is None else tensor(mask).to(torch.bool)
    if bias is not None:
        bias = as_float(bias)
        allowed = bias if allowed is None else bias.masked_fill(~allowed, float("-inf"))
    outputs = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed, is_causal=is_causal, scale=scale)
    return outputs.transpose(1, 2)


def psnr(x1: Any, x2: Any, max_val: float) -> Any:
    """The peak signal-to-noise ratio in decibels, of values up to `max_val`."""
    return 10 * torch.log10(max_val**2 / torch.mean((as_float(x1) - as_float(x2)) ** 2))
