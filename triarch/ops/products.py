"""Products of vectors, matrices and tensors."""

from __future__ import annotations

from typing import Any

import torch

from triarch.ops.table import op, tensor

__all__ = [
    "cross",
    "dot",
    "einsum",
    "inner",
    "kron",
    "matmul",
    "outer",
    "tensordot",
    "trace",
    "vdot",
]


@op("numpy")
def matmul(x1: Any, x2: Any) -> Any:
    """The product of matrices, or of stacks of them."""
    return torch.matmul(tensor(x1), tensor(x2))


@op("numpy")
def dot(x1: Any, x2: Any) -> Any:
    """Sums over the last axis of `x1` and the last but one of `x2` (or its only one)."""
    x1, x2 = tensor(x1), tensor(x2)
    if x1.ndim == 0 or x2.ndim == 0:
        return x1 * x2
    return torch.tensordot(x1, x2, dims=([-1], [-2 if x2.ndim > 1 else -1]))


@op("numpy", config=("axes",))
def tensordot(x1: Any, x2: Any, axes: Any = 2) -> Any:
    """Sums over so many last axes of `x1` and first ones of `x2`, or over these pairs of axes."""
    dims = (
        axes if hasattr(axes, "__index__") else [[part] if hasattr(part, "__index__") else list(part) for part in axes]
    )
    return torch.tensordot(tensor(x1), tensor(x2), dims=dims)


@op("numpy", config=("subscripts",))
def einsum(subscripts: str, *operands: Any) -> Any:
    """Sums of products as the subscripts say, such as `"bij,bjk->bik"`."""
    return torch.einsum(subscripts, *(tensor(operand) for operand in operands))


@op("numpy")
def outer(x1: Any, x2: Any) -> Any:
    """All products of a number of `x1` and one of `x2`."""
    return torch.outer(tensor(x1).ravel(), tensor(x2).ravel())


@op("numpy")
def inner(x1: Any, x2: Any) -> Any:
    """Sums over the last axes of both."""
    return torch.inner(tensor(x1), tensor(x2))


@op("numpy")
def vdot(x1: Any, x2: Any) -> Any:
    """The sum of the products of all numbers, those of `x1` conjugated."""
    return torch.vdot(tensor(x1).ravel(), tensor(x2).ravel())


@op("numpy")
def cross(x1: Any, x2: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None) -> Any:
    """The vector product of vectors of 3 numbers, which lie along these axes."""
    if axis is not None:
        axisa = axisb = axisc = axis
    return torch.linalg.cross(tensor(x1).movedim(axisa, -1), tensor(x2).movedim(axisb, -1)).movedim(-1, axisc)


@op("numpy")
def trace(x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """The sum of a diagonal in the plane of two axes."""
    return torch.diagonal(tensor(x), offset, axis1, axis2).sum(-1)


@op("numpy")
def kron(x1: Any, x2: Any) -> Any:
    """The Kronecker product: `x2` times each number of `x1`, in its place."""
    return torch.kron(tensor(x1), tensor(x2))
