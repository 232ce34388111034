"""Linear algebra of matrices and stacks of them."""

from __future__ import annotations

from typing import Any

import torch

from triarch.ops.table import as_float, op

__all__ = [
    "cholesky",
    "det",
    "eig",
    "eigh",
    "inv",
    "norm",
    "pinv",
    "qr",
    "solve",
    "solve_triangular",
    "svd",
]


@op("linalg")
def cholesky(x: Any, upper: bool = False) -> Any:
    """The triangular matrix `L` with `L Lᵀ = x` (with `upper`, `Lᵀ`)."""
    return torch.linalg.cholesky(as_float(x), upper=upper)


@op("linalg")
def det(x: Any) -> Any:
    """The determinant."""
    return torch.linalg.det(as_float(x))


@op("linalg")
def eig(x: Any) -> tuple[Any, Any]:
    """Eigenvalues and, in columns, eigenvectors."""
    return tuple(torch.linalg.eig(as_float(x)))


@op("linalg")
def eigh(x: Any) -> tuple[Any, Any]:
    """Eigenvalues, ascending, and eigenvectors of a symmetric or Hermitian matrix."""
    return tuple(torch.linalg.eigh(as_float(x)))


@op("linalg")
def inv(x: Any) -> Any:
    """The inverse."""
    return torch.linalg.inv(as_float(x))


@op("linalg")
def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    """The norm of vectors (one axis) or matrices (two); of all numbers by default."""
    x = as_float(x)
    if axis is None and ord is None:
        found = torch.linalg.vector_norm(x)
        return found.reshape((1,) * x.ndim) if keepdims else found
    return torch.linalg.norm(x, ord, axis, keepdims)


@op("linalg")
def qr(x: Any, mode: str = "reduced") -> tuple[Any, Any]:
    """An orthogonal matrix and an upper triangular one, of which `x` is the product."""
    return tuple(torch.linalg.qr(as_float(x), mode))


@op("linalg")
def solve(a: Any, b: Any) -> Any:
    """`x` with `a x = b`."""
    a, b = as_float(a), as_float(b)
    return torch.linalg.solve(a, b.unsqueeze(-1)).squeeze(-1) if b.ndim == a.ndim - 1 else torch.linalg.solve(a, b)


@op("linalg")
def solve_triangular(a: Any, b: Any, lower: bool = False) -> Any:
    """`x` with `a x = b`, where `a` is triangular."""
    a, b = as_float(a), as_float(b)
    if b.ndim == a.ndim - 1:
        return torch.linalg.solve_triangular(a, b.unsqueeze(-1), upper=not lower).squeeze(-1)
    return torch.linalg.solve_triangular(a, b, upper=not lower)


@op("linalg", class_name="SVD")
def svd(x: Any, full_matrices: bool = True, compute_uv: bool = True) -> Any:
    """`U`, the singular values and `Vᴴ`; the singular values alone without `compute_uv`."""
    x = as_float(x)
    return tuple(torch.linalg.svd(x, full_matrices)) if compute_uv else torch.linalg.svdvals(x)


@op("linalg")
def pinv(x: Any, rcond: float | None = None) -> Any:
    """The pseudoinverse; singular values below `rcond` times the largest count as 0."""
    return torch.linalg.pinv(as_float(x), rtol=rcond)
