"""Every operation beside Keras's, on tensors and on symbolic tensors."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch.utils import _pytree as pytree

from triarch import Input, Model, ops
from triarch.graph import SymbolicTensor, leaves, map_structure
from triarch.ops import table


class Call(NamedTuple):
    """An operation with its arguments; arrays are given as tensors."""

    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.name}-{len(self.args)}-{','.join(self.kwargs)}"


_rng = np.random.default_rng(3)
X = _rng.normal(size=(3, 4)).astype(np.float32)
Y = _rng.normal(size=(3, 4)).astype(np.float32)
P = np.abs(X) + 0.5  # positive
U = np.tanh(X) * 0.9  # inside (-1, 1)
N = _rng.integers(-5, 6, size=(3, 4)).astype(np.int32)
M = np.where(N == 0, 3, N).astype(np.int32)  # without 0
B = X > 0
V = _rng.normal(size=(2, 3, 4)).astype(np.float32)
W = _rng.normal(size=(2, 4, 5)).astype(np.float32)
S = (V @ V.transpose(0, 2, 1) + 2 * np.eye(3)).astype(np.float32)  # symmetric, positive definite
IMAGES = _rng.random(size=(2, 7, 6, 3)).astype(np.float32)
PIXELS = (IMAGES * 255).astype(np.uint8)
NAN = np.array([[1.0, np.nan, np.inf], [-np.inf, 0.0, 2.0]], np.float32)


def call(name: str, *args: Any, **kwargs: Any) -> Call:
    return Call(name, args, kwargs)


_FLOATS = [
    "absolute",
    "abs",
    "negative",
    "sign",
    "square",
    "exp",
    "exp2",
    "expm1",
    "sin",
    "cos",
    "tan",
    "arctan",
    "sinh",
    "cosh",
    "tanh",
    "arcsinh",
    "deg2rad",
    "rad2deg",
    "sinc",
    "ceil",
    "floor",
    "isfinite",
    "isinf",
    "isnan",
    "logical_not",
    "erf",
    "relu",
    "relu6",
    "sigmoid",
    "softplus",
    "softsign",
    "silu",
    "swish",
    "log_sigmoid",
    "leaky_relu",
    "hard_sigmoid",
    "hard_silu",
    "hard_swish",
    "elu",
    "selu",
    "celu",
    "gelu",
    "glu",
    "hard_tanh",
    "softmax",
    "log_softmax",
    "trunc",
    "signbit",
    "reciprocal",
    "cbrt",
]
_POSITIVE = ["sqrt", "log", "log10", "log1p", "log2", "rsqrt"]
_INSIDE = ["arcsin", "arccos", "arctanh", "erfinv"]
_OF_TWO = [
    "add",
    "subtract",
    "multiply",
    "divide",
    "true_divide",
    "maximum",
    "minimum",
    "fmax",
    "fmin",
    "arctan2",
    "hypot",
    "logaddexp",
    "equal",
    "not_equal",
    "less",
    "less_equal",
    "greater",
    "greater_equal",
    "logical_and",
    "logical_or",
    "logical_xor",
]
_REDUCTIONS = ["sum", "mean", "var", "std", "max", "min", "amax", "amin", "prod"]

CALLS = [
    *(call(name, X) for name in _FLOATS),
    *(call(name, P) for name in _POSITIVE),
    *(call(name, U) for name in _INSIDE),
    *(call(name, P + 1) for name in ("arccosh",)),
    *(call(name, X, Y) for name in _OF_TWO),
    *(call(name, N, M) for name in ("add", "multiply", "divide", "floor_divide", "mod", "fmod", "maximum", "equal")),
    *(call(name, X, 2.5) for name in ("add", "multiply", "power", "floor_divide", "mod", "less")),
    *(call(name, 2, P) for name in ("subtract", "divide", "power", "maximum")),
    *(call(name, N, M) for name in ("bitwise_and", "bitwise_or", "bitwise_xor")),
    call("bitwise_not", N),
    *(call(name, N) for name in ("exp", "sqrt", "sin", "floor", "absolute", "square") if name != "sqrt"),
    call("clip", X, -0.5, 0.7),
    call("round", X, decimals=1),
    call("where", B, X, Y),
    call("where", B, X, 0.0),
    call("nan_to_num", NAN, nan=1.0, posinf=9.0, neginf=-9.0),
    call("isclose", X, X + 1e-9),
    *(call(name, X) for name in _REDUCTIONS),
    *(call(name, V, axis=1) for name in _REDUCTIONS),
    *(call(name, V, axis=(0, 2), keepdims=True) for name in _REDUCTIONS),
    *(call(name, N, axis=1) for name in ("sum", "prod", "max", "mean")),
    call("max", X, axis=0, initial=1.0),
    call("min", X, axis=0, initial=-1.0),
    *(call(name, B, axis=1) for name in ("all", "any", "sum", "count_nonzero")),
    *(call(name, V, axis=2, keepdims=True) for name in ("argmax", "argmin")),
    *(call(name, V) for name in ("argmax", "argmin")),
    call("average", X, axis=1, weights=np.array([1.0, 2.0, 3.0, 4.0], np.float32)),
    call("average", X),
    *(call(name, V, axis=1) for name in ("cumsum", "cumprod", "sort", "argsort", "flip", "median")),
    call("cumsum", V),
    call("quantile", V, 0.3, axis=(0, 2)),
    call("quantile", X, [0.1, 0.5], axis=1, keepdims=True),
    call("quantile", X, 0.4, axis=0, method="nearest"),
    call("logsumexp", V, axis=(1, 2)),
    call("bincount", np.array([1, 3, 1, 0], np.int32), minlength=6),
    call("array", X),
    call("copy", X),
    call("zeros_like", X),
    call("ones_like", N, dtype="float32"),
    call("full_like", X, 3),
    call("full", (2, 3), 4.5),
    call("reshape", V, (2, -1)),
    call("ravel", V),
    call("transpose", V),
    call("transpose", V, (1, 0, 2)),
    call("swapaxes", V, 0, 2),
    call("moveaxis", V, 0, -1),
    call("moveaxis", V, (0, 1), (2, 0)),
    call("squeeze", V[:, :1]),
    call("squeeze", V[:, :1], axis=1),
    call("expand_dims", V, 1),
    call("expand_dims", V, (0, -1)),
    call("broadcast_to", X, (2, 3, 4)),
    call("concatenate", [X, Y], axis=1),
    call("stack", [X, Y], axis=1),
    call("hstack", [X, Y]),
    call("vstack", [X, Y]),
    call("append", X, Y, axis=0),
    call("append", X, Y),
    call("split", X, 2, axis=1),
    call("split", X, [1, 3], axis=1),
    call("tile", X, (2, 1)),
    call("repeat", X, 2, axis=1),
    call("repeat", X, 3),
    call("flip", V),
    call("roll", X, 2, axis=1),
    call("roll", X, 3),
    call("rot90", V, k=1, axes=(1, 2)),
    call("pad", X, ((1, 2), (0, 3))),
    call("pad", X, ((1, 1), (2, 0)), constant_values=2.0),
    call("pad", V, ((0, 0), (1, 2), (2, 1)), mode="reflect"),
    call("take", V, np.array([[0, 2], [1, -1]], np.int32), axis=1),
    call("take", X, np.array([0, 5], np.int32)),
    call("take_along_axis", X, np.array([[0], [2], [-1]], np.int32), axis=1),
    call("meshgrid", X[0], Y[1, :3]),
    call("meshgrid", X[0], Y[1, :3], indexing="ij"),
    call("diag", X[0], k=1),
    call("diagonal", V, offset=1, axis1=1, axis2=2),
    call("tril", V, k=-1),
    call("triu", V, k=1),
    call("searchsorted", np.sort(X[0]), Y[0]),
    call("nonzero", N),
    call("diff", X, axis=0),
    call("trapezoid", X, dx=0.5, axis=1),
    call("matmul", V, W),
    call("dot", X, Y.T.copy()),
    call("dot", V, W[0]),
    call("tensordot", V, W, axes=[[2], [1]]),
    call("tensordot", X, Y, axes=2),
    call("einsum", "bij,bjk->bik", V, W),
    call("outer", X[0], Y[0]),
    call("inner", X, Y),
    call("vdot", X[0], Y[0]),
    call("cross", X[:2, :3], Y[:2, :3]),
    call("trace", V, axis1=1, axis2=2),
    call("kron", X[:2], Y[:2]),
    *(call(name, S) for name in ("linalg.cholesky", "linalg.det", "linalg.inv")),
    call("linalg.norm", X),
    call("linalg.norm", V, axis=1, keepdims=True),
    call("linalg.norm", V, ord=1, axis=2),
    call("linalg.solve", S, V),
    call("linalg.solve_triangular", np.tril(S), V, lower=True),
    call("segment_sum", X, np.array([0, 2, 0], np.int32), num_segments=4),
    call("segment_max", X, np.array([0, 1, 0], np.int32), num_segments=2),
    call("top_k", X, 2),
    call("in_top_k", np.array([0, 1, 3], np.int32), X, 2),
    call("fft", (X, Y)),
    call("fft2", (V, V + 1)),
    call("ifft2", (V, V + 1)),
    call("rfft", X),
    call("rfft", X, fft_length=6),
    call("irfft", (X, Y)),
    call("extract_sequences", X, 3, 1),
    call("cast", X, "int32"),
    call("stop_gradient", X),
    call("unstack", X, axis=1),
    call("slice", X, (1, 1), (2, 2)),
    call("slice_update", X, (1, 1), Y[:2, :2]),
    call("scatter", np.array([[0, 1], [2, 0]], np.int32), np.array([1.0, 2.0], np.float32), (3, 2)),
    call("scatter_update", X, np.array([[0, 1], [2, 0]], np.int32), np.array([1.0, 2.0], np.float32)),
    call("one_hot", np.array([0, 2, 3], np.int32), 4),
    call("one_hot", np.array([[0, 2], [1, 1]], np.int32), 3, axis=1),
    call("multi_hot", np.array([[0, 2], [1, 1]], np.int32), 4),
    call("moments", V, axes=(0, 1)),
    call("normalize", X, axis=1),
    call("batch_normalization", V, X[0], P[0], axis=-1, offset=Y[0], scale=Y[1]),
    call("layer_normalization", V, X[0], Y[0], axis=-1),
    call("binary_crossentropy", (X > 0).astype(np.float32), np.abs(U)),
    call("binary_crossentropy", (X > 0).astype(np.float32), X, from_logits=True),
    call("categorical_crossentropy", np.eye(4, dtype=np.float32)[:3], P),
    call("categorical_crossentropy", np.eye(4, dtype=np.float32)[:3], X, from_logits=True),
    call("sparse_categorical_crossentropy", np.array([0, 3, 1], np.int32), P),
    call("sparse_categorical_crossentropy", np.array([0, 3, 1], np.int32), X, from_logits=True),
    call("conv", IMAGES, _rng.normal(size=(3, 2, 3, 4)).astype(np.float32), strides=2, padding="same"),
    call("conv", V, _rng.normal(size=(2, 4, 5)).astype(np.float32)),
    call("depthwise_conv", IMAGES, _rng.normal(size=(3, 2, 3, 2)).astype(np.float32), padding="same"),
    call(
        "separable_conv",
        IMAGES,
        _rng.normal(size=(3, 2, 3, 2)).astype(np.float32),
        _rng.normal(size=(1, 1, 6, 4)).astype(np.float32),
    ),
    call("conv_transpose", IMAGES, _rng.normal(size=(3, 2, 4, 3)).astype(np.float32), strides=2, padding="same"),
    call("max_pool", IMAGES, 2, strides=1, padding="same"),
    call("average_pool", IMAGES, (2, 3)),
    call("dot_product_attention", *(_rng.normal(size=(2, 5, 3, 4)).astype(np.float32) for _ in range(3))),
    call("psnr", X, Y, 2.0),
    call("image.rgb_to_grayscale", IMAGES),
    call("image.resize", IMAGES, (4, 9)),
    call("image.resize", IMAGES, (14, 12), interpolation="nearest"),
    call("image.resize", IMAGES, (9, 11), interpolation="bicubic"),
    call("image.resize", IMAGES, (5, 10), crop_to_aspect_ratio=True),
    call("image.resize", IMAGES, (5, 10), pad_to_aspect_ratio=True, fill_value=1.0),
    call("image.extract_patches", IMAGES, 3),
    call("image.extract_patches", IMAGES, (2, 3), strides=(1, 2), padding="same"),
    *(
        call(
            "image.affine_transform",
            IMAGES,
            np.array([[0.9, 0.2, -0.7, -0.1, 1.1, 0.6, 0.0, 0.0], [1, 0, 2.5, 0, 1, -1.25, 0, 0]], np.float32),
            interpolation=interpolation,
            fill_mode=mode,
        )
        for interpolation in ("bilinear", "nearest")
        for mode in ("constant", "nearest", "wrap", "mirror", "reflect")
    ),
    call("image.pad_images", IMAGES, top_padding=2, left_padding=1, target_height=12, target_width=9),
    call("image.crop_images", IMAGES, top_cropping=2, left_cropping=1, target_height=3, target_width=4),
]


def _function(of: Any, name: str) -> Any:
    for part in name.split("."):
        of = getattr(of, part)
    return of


def _tensors(arguments: Any) -> Any:
    return map_structure(
        lambda leaf: torch.from_numpy(leaf.copy()) if isinstance(leaf, np.ndarray) else leaf, arguments
    )


def _arrays(result: Any) -> list[np.ndarray]:
    return [np.asarray(leaf.resolve_conj() if isinstance(leaf, torch.Tensor) else leaf) for leaf in leaves(result)]


@pytest.mark.parametrize("case", CALLS, ids=str)
def test_as_keras_computes(case, keras):
    ours = _arrays(_function(ops, case.name)(*_tensors(case.args), **_tensors(case.kwargs)))
    theirs = _arrays(_function(keras.ops, case.name)(*_tensors(case.args), **_tensors(case.kwargs)))
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert one.shape == other.shape
        assert one.dtype.kind == other.dtype.kind
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-6)


def test_every_operation_has_a_call():
    done = {case.name.rpartition(".")[2] for case in CALLS}
    elsewhere = {"get_item", "convert_to_tensor", "empty_like", "real", "imag", "conj", "conjugate", "angle"}
    elsewhere |= {"segment_min", "segment_prod", "linalg", "eig", "eigh", "qr", "svd", "pinv"}
    assert {entry.name for entry in table.entries()} - done - elsewhere == set()


_OF_BATCHES = [
    case
    for case in CALLS
    if isinstance(case.args[0], np.ndarray) and case.args[0].ndim > 1 and case.name not in ("nonzero", "where", "psnr")
]


@pytest.mark.parametrize("case", _OF_BATCHES, ids=str)
def test_symbols_have_the_shape_and_type_of_numbers(case):
    function = _function(ops, case.name)
    first, *others = _tensors(case.args)
    symbol = SymbolicTensor(first.shape, str(first.dtype).removeprefix("torch."))
    made, expected = function(symbol, *others, **case.kwargs), function(first, *others, **case.kwargs)
    for one, other in zip(leaves(made), leaves(expected), strict=True):
        assert one.shape == tuple(other.shape)
        assert one.dtype == str(other.dtype).removeprefix("torch.")


def test_operations_in_a_model_compute_as_outside():
    inputs = Input((4,))
    outputs = ops.concatenate([ops.sin(inputs), inputs[:, :2] * 2 - 1, ops.mean(inputs, axis=1, keepdims=True)], axis=1)
    x = torch.from_numpy(X)
    expected = torch.cat([x.sin(), x[:, :2] * 2 - 1, x.mean(1, keepdim=True)], 1)
    torch.testing.assert_close(Model(inputs, outputs)(x), expected)


@pytest.mark.parametrize("mode", ["reflect", "symmetric", "edge", "wrap"])
def test_margins_are_numpys(mode):
    widths = ((0, 0), (1, 2), (3, 1))
    np.testing.assert_array_equal(np.asarray(ops.pad(torch.from_numpy(V), widths, mode=mode)), np.pad(V, widths, mode))


def test_complex_parts():
    z = torch.complex(torch.from_numpy(X), torch.from_numpy(Y))
    for name, function in (("real", np.real), ("imag", np.imag), ("conj", np.conj), ("angle", np.angle)):
        np.testing.assert_allclose(np.asarray(getattr(ops, name)(z)), function(X + 1j * Y), rtol=1e-5, atol=1e-6)


def test_decompositions():
    x = torch.from_numpy(S)
    values, vectors = ops.linalg.eigh(x)
    torch.testing.assert_close(vectors * values[:, None] @ vectors.mT, x, rtol=1e-4, atol=1e-4)
    q, r = ops.linalg.qr(x)
    torch.testing.assert_close(q @ r, x, rtol=1e-4, atol=1e-4)
    u, s, v = ops.linalg.svd(x, full_matrices=False)
    torch.testing.assert_close(u * s[:, None] @ v, x, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ops.linalg.pinv(x) @ x, torch.eye(3).expand(2, 3, 3), rtol=1e-3, atol=1e-3)


def test_vectors_that_a_matrix_only_scales():
    x = torch.from_numpy(V[:, :, :3].copy())
    values, vectors = ops.linalg.eig(x)
    torch.testing.assert_close(x.to(vectors.dtype) @ vectors, vectors * values[:, None], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "reduce", "nothing"), [("segment_prod", np.prod, 1.0), ("segment_min", np.min, np.inf)]
)
@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_segments(name, reduce, nothing, dtype):
    data, numbers = (X * 3).astype(dtype), np.array([2, 0, 2], np.int32)
    found = np.asarray(getattr(ops, name)(torch.from_numpy(data), torch.from_numpy(numbers), num_segments=4))
    assert found.dtype == dtype
    for number in (0, 2):
        np.testing.assert_allclose(found[number], reduce(data[numbers == number], axis=0), rtol=1e-6)
    largest = np.iinfo(dtype).max if nothing == np.inf and dtype is np.int32 else nothing
    assert (found[[1, 3]] == largest).all()


def test_making(keras):
    for name, args in (
        ("zeros", ((2, 3),)),
        ("ones", (4,)),
        ("eye", (3, 5, 1)),
        ("identity", (3,)),
        ("tri", (3, 4, -1)),
        ("arange", (5,)),
        ("arange", (1.0, 2.0, 0.3)),
        ("linspace", (1.0, 2.0, 7)),
        ("linspace", (0, 3, 4, False)),
    ):
        ours, theirs = getattr(ops, name)(*args), getattr(keras.ops, name)(*args)
        assert ours.dtype == theirs.dtype, name
        torch.testing.assert_close(ours, theirs)


def test_control_is_keras_control(keras):
    for module in (ops, keras.ops):
        assert float(module.cond(True, lambda: 1.0, lambda: 2.0)) == 1.0
        assert float(module.switch(5, [lambda x: x, lambda x: 2 * x], 3.0)) == 6.0
        assert int(module.while_loop(lambda i: i < 5, lambda i: i + 2, (torch.tensor(0),))[0]) == 6
        assert int(module.fori_loop(0, 4, lambda i, total: total + i, torch.tensor(0))) == 6
        carry, sums = module.scan(lambda c, x: (c + x, c * x), torch.tensor(1.0), torch.arange(4.0))
        assert (float(carry), sums.tolist()) == (7.0, [0.0, 1.0, 4.0, 12.0])
        assert module.map(lambda x: x * 2, torch.arange(3)).tolist() == [0, 2, 4]
        assert module.vectorized_map(lambda x: x.sum(), torch.ones(3, 4)).tolist() == [4.0] * 3


@pytest.mark.parametrize("reduction", ["add", "max", "min", "mul"])
def test_scatter_updates_combine(reduction, keras):
    indices, updates = torch.tensor([[0, 1], [2, 0], [0, 1]]), torch.tensor([1.0, 2.0, -3.0])
    arguments = (torch.from_numpy(X), indices, updates)
    torch.testing.assert_close(
        ops.scatter_update(*arguments, reduction=reduction), keras.ops.scatter_update(*arguments, reduction=reduction)
    )


def test_what_is_refused():
    x = torch.from_numpy(X)
    with pytest.raises(ValueError, match="cannot be divided equally"):
        ops.split(x, 3, axis=1)
    with pytest.raises(ValueError, match="Only axes of size 1"):
        ops.squeeze(x, axis=1)
    with pytest.raises(ValueError, match="both `x1` and `x2`"):
        ops.where(x > 0, x)
    with pytest.raises(ValueError, match="`mode` must be one of"):
        ops.pad(x, 1, mode="mirror")
    with pytest.raises(ValueError, match="`interpolation` must be one of"):
        ops.image.resize(torch.from_numpy(IMAGES), (3, 3), interpolation="cubic")
    with pytest.raises(ValueError, match="8 numbers for each image"):
        ops.image.affine_transform(torch.from_numpy(IMAGES), torch.zeros(2, 6))
    with pytest.raises(ValueError, match="exactly two of"):
        ops.image.crop_images(torch.from_numpy(IMAGES), top_cropping=1)
    assert pytree.tree_leaves(ops.numpy.sum(x))
