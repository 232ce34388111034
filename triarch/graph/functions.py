"""Which functions of torch may stand in a graph, and what they are called there and in files."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch.overrides import resolve_name


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_SPACES: dict[str, Any] = {"torch": torch, "torch.Tensor": torch.Tensor, "torch.nn.functional": F}

_READING = _words(
    """
    item tolist numpy __bool__ __float__ __int__ __index__ __len__ __iter__ __contains__ __array__ backward
    data_ptr storage is_nonzero equal allclose
    """
)
_RANDOM = _words(
    """
    bernoulli multinomial normal poisson rand_like randn_like randint_like rrelu gumbel_softmax dropout
    dropout1d dropout2d dropout3d alpha_dropout feature_dropout feature_alpha_dropout fractional_max_pool2d
    fractional_max_pool3d scaled_dot_product_attention
    """
)

# Those that a file may name: they compute, and do nothing else.
_PURE = _words(
    """
    abs absolute acos acosh add addcdiv addcmul addmm all amax amin any arccos arccosh arcsin arcsinh arctan
    arctan2 arctanh argmax argmin argsort asin asinh atan atan2 atanh baddbmm bitwise_and bitwise_not
    bitwise_or bitwise_xor bmm broadcast_to bucketize cat cdist ceil chunk clamp clamp_max clamp_min clip
    clone column_stack complex concat concatenate conj contiguous copysign cos cosh cross cummax cummin
    cumprod cumsum deg2rad detach diag diag_embed diagonal diff digamma dist div divide dot double dsplit
    dstack einsum eq erf erfc erfinv exp exp2 expand expand_as expm1 flatten flip fliplr flipud float floor
    floor_divide fmax fmin fmod frac full_like gather ge greater greater_equal gt half heaviside hsplit hstack
    hypot imag index_select inner int inverse isclose isfinite isinf isnan kron kthvalue le lerp less
    less_equal lgamma log log10 log1p log2 log_softmax logaddexp logaddexp2 logcumsumexp logical_and
    logical_not logical_or logical_xor logit logsumexp long lt masked_fill matmul max maximum mean median
    meshgrid min minimum mm mode moveaxis movedim mul multiply mv nan_to_num nanmean nansum narrow ne neg
    negative norm not_equal ones_like outer permute pixel_shuffle pixel_unshuffle polar positive pow prod
    quantile rad2deg ravel real reciprocal relu remainder renorm repeat repeat_interleave reshape reshape_as
    rms_norm roll rot90 round rsqrt rsub scatter scatter_add select selu sgn sigmoid sign sin sinc sinh
    slice_scatter softmax sort split sqrt square squeeze stack std std_mean sub subtract sum swapaxes swapdims
    t take take_along_dim tan tanh tensor_split tensordot tile to topk trace transpose trapezoid tril triu
    true_divide trunc type_as unbind unflatten unfold unsqueeze var var_mean vdot view view_as vsplit vstack
    where xlogy zeros_like adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d
    adaptive_max_pool2d adaptive_max_pool3d affine_grid avg_pool1d avg_pool2d avg_pool3d celu channel_shuffle
    cosine_similarity elu fold gelu glu grid_sample group_norm hardshrink hardsigmoid hardswish hardtanh
    interpolate layer_norm leaky_relu local_response_norm logsigmoid lp_pool1d lp_pool2d max_pool1d max_pool2d
    max_pool3d mish normalize one_hot pad pairwise_distance relu6 silu softmin softplus softshrink softsign
    tanhshrink threshold upsample __getitem__ __add__ __radd__ __sub__ __rsub__ __mul__ __rmul__ __truediv__
    __rtruediv__ __floordiv__ __mod__ __pow__ __rpow__ __matmul__ __rmatmul__ __neg__ __abs__ __and__ __or__
    __xor__ __invert__ T mT H mH
    """
)


def name_of(function: Callable[..., Any]) -> str:
    """What a function of torch is called in a graph, such as `torch.nn.functional.gelu`.

    Raises:
        TypeError: It changes its arguments, reads numbers or draws random ones, which a graph cannot repeat.
    """
    name = resolve_name(function) or getattr(function, "__qualname__", repr(function))
    short = name.removesuffix(".__get__").rpartition(".")[2]
    advice = "Functions that compute from their arguments and return the result are recorded."
    if short in _READING:
        raise TypeError(f"A symbolic tensor holds no numbers to read. {advice} Received: {name}")
    if short in _RANDOM:
        raise TypeError(
            f"A function that draws random numbers would do so in inference too: use a layer, such as `Dropout`. "
            f"Received: {name}"
        )
    is_in_place = (short.endswith("_") and not short.endswith("__")) or short.startswith(("__i", "__set", "set_"))
    if is_in_place and short not in ("__invert__", "__index__"):
        raise TypeError(f"A graph cannot hold functions that change their arguments. {advice} Received: {name}")
    return name


def find(name: str) -> Callable[..., Any]:
    """The function that `name_of` named, if it is one that files may name.

    Raises:
        ValueError: It is not.
    """
    plain = name.removesuffix(".__get__")
    space, _, short = plain.rpartition(".")
    found = getattr(_SPACES.get(space), short, None) if is_pure(name) else None
    if found is None:
        raise ValueError(
            f"Not one of torch's functions that a model's file may name (they compute, and do nothing else). "
            f"Received: {name!r}"
        )
    return found if plain == name else found.__get__


def is_pure(name: str) -> bool:
    """Whether a file may name it."""
    space, _, short = name.removesuffix(".__get__").rpartition(".")
    return space in _SPACES and short in _PURE
