"""Number by number: arithmetic, comparisons, powers, trigonometry, rounding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from triarch.ops.table import as_float, op, tensor

__all__ = [
    "abs",
    "absolute",
    "add",
    "angle",
    "arccos",
    "arccosh",
    "arcsin",
    "arcsinh",
    "arctan",
    "arctan2",
    "arctanh",
    "bitwise_and",
    "bitwise_not",
    "bitwise_or",
    "bitwise_xor",
    "cbrt",
    "ceil",
    "clip",
    "conj",
    "conjugate",
    "cos",
    "cosh",
    "deg2rad",
    "divide",
    "equal",
    "exp",
    "exp2",
    "expm1",
    "floor",
    "floor_divide",
    "fmax",
    "fmin",
    "fmod",
    "greater",
    "greater_equal",
    "hypot",
    "imag",
    "isclose",
    "isfinite",
    "isinf",
    "isnan",
    "less",
    "less_equal",
    "log",
    "log1p",
    "log2",
    "log10",
    "logaddexp",
    "logical_and",
    "logical_not",
    "logical_or",
    "logical_xor",
    "maximum",
    "minimum",
    "mod",
    "multiply",
    "nan_to_num",
    "negative",
    "not_equal",
    "power",
    "rad2deg",
    "real",
    "reciprocal",
    "round",
    "sign",
    "signbit",
    "sin",
    "sinc",
    "sinh",
    "sqrt",
    "square",
    "subtract",
    "tan",
    "tanh",
    "true_divide",
    "trunc",
    "where",
]


def _unary(name: str, function: Callable[..., Any], does: str, floats: bool = False) -> Any:
    """An operation of one tensor; with `floats`, integers become floats first."""

    def operation(x: Any) -> Any:
        return function(as_float(x) if floats else tensor(x))

    operation.__name__ = operation.__qualname__ = name
    operation.__doc__ = does
    return op("numpy")(operation)


def _binary(name: str, function: Callable[..., Any], does: str) -> Any:
    """An operation of two tensors, stretched to a common shape."""

    def operation(x1: Any, x2: Any) -> Any:
        return function(tensor(x1), tensor(x2))

    operation.__name__ = operation.__qualname__ = name
    operation.__doc__ = does
    return op("numpy")(operation)


absolute = _unary("absolute", torch.abs, "`|x|`.")
abs = _unary("abs", torch.abs, "`|x|`.")
negative = _unary("negative", torch.neg, "`-x`.")
sign = _unary("sign", torch.sign, "-1, 0 or 1.")
signbit = _unary("signbit", torch.signbit, "Whether the sign is negative, that of zero included.")
square = _unary("square", torch.square, "`x * x`.")
sqrt = _unary("sqrt", torch.sqrt, "The square root.", floats=True)
cbrt = _unary("cbrt", lambda x: torch.sign(x) * torch.abs(x) ** (1 / 3), "The cube root.", floats=True)
reciprocal = _unary("reciprocal", torch.reciprocal, "`1 / x`.", floats=True)
exp = _unary("exp", torch.exp, "`e ** x`.", floats=True)
exp2 = _unary("exp2", torch.exp2, "`2 ** x`.", floats=True)
expm1 = _unary("expm1", torch.expm1, "`e ** x - 1`, exact near 0.", floats=True)
log = _unary("log", torch.log, "The natural logarithm.", floats=True)
log10 = _unary("log10", torch.log10, "The logarithm to base 10.", floats=True)
log1p = _unary("log1p", torch.log1p, "`log(1 + x)`, exact near 0.", floats=True)
log2 = _unary("log2", torch.log2, "The logarithm to base 2.", floats=True)
sin = _unary("sin", torch.sin, "The sine of an angle in radians.", floats=True)
cos = _unary("cos", torch.cos, "The cosine of an angle in radians.", floats=True)
tan = _unary("tan", torch.tan, "The tangent of an angle in radians.", floats=True)
arcsin = _unary("arcsin", torch.arcsin, "The angle in radians of which `x` is the sine.", floats=True)
arccos = _unary("arccos", torch.arccos, "The angle in radians of which `x` is the cosine.", floats=True)
arctan = _unary("arctan", torch.arctan, "The angle in radians of which `x` is the tangent.", floats=True)
sinh = _unary("sinh", torch.sinh, "The hyperbolic sine.", floats=True)
cosh = _unary("cosh", torch.cosh, "The hyperbolic cosine.", floats=True)
tanh = _unary("tanh", torch.tanh, "The hyperbolic tangent.", floats=True)
arcsinh = _unary("arcsinh", torch.arcsinh, "The inverse of `sinh`.", floats=True)
arccosh = _unary("arccosh", torch.arccosh, "The inverse of `cosh`.", floats=True)
arctanh = _unary("arctanh", torch.arctanh, "The inverse of `tanh`.", floats=True)
deg2rad = _unary("deg2rad", torch.deg2rad, "Degrees as radians.", floats=True)
rad2deg = _unary("rad2deg", torch.rad2deg, "Radians as degrees.", floats=True)
sinc = _unary("sinc", torch.sinc, "`sin(pi * x) / (pi * x)`.", floats=True)
ceil = _unary("ceil", torch.ceil, "The next integer above.", floats=True)
floor = _unary("floor", torch.floor, "The next integer below.", floats=True)
trunc = _unary("trunc", torch.trunc, "The integer towards 0.")
isfinite = _unary("isfinite", torch.isfinite, "Whether it is neither infinite nor NaN.")
isinf = _unary("isinf", torch.isinf, "Whether it is infinite.")
isnan = _unary("isnan", torch.isnan, "Whether it is NaN.")
logical_not = _unary("logical_not", torch.logical_not, "Whether it is 0 or False.")
bitwise_not = _unary("bitwise_not", torch.bitwise_not, "Each bit turned.")
real = _unary("real", torch.real, "The real part.")
imag = _unary("imag", torch.imag, "The imaginary part.")
conjugate = _unary("conjugate", lambda x: torch.conj(x).resolve_conj(), "The complex conjugate.")
conj = _unary("conj", lambda x: torch.conj(x).resolve_conj(), "The complex conjugate.")
angle = _unary("angle", torch.angle, "The angle of a complex number in radians.", floats=True)

add = _binary("add", torch.add, "`x1 + x2`.")
subtract = _binary("subtract", torch.subtract, "`x1 - x2`.")
multiply = _binary("multiply", torch.multiply, "`x1 * x2`.")
divide = _binary("divide", torch.divide, "`x1 / x2`.")
true_divide = _binary("true_divide", torch.true_divide, "`x1 / x2`.")
floor_divide = _binary("floor_divide", torch.floor_divide, "The integer below `x1 / x2`.")
mod = _binary("mod", torch.remainder, "The remainder of `x1 / x2`, with the sign of `x2`.")
fmod = _binary("fmod", torch.fmod, "The remainder of `x1 / x2`, with the sign of `x1`.")
power = _binary("power", torch.pow, "`x1 ** x2`.")
maximum = _binary("maximum", torch.maximum, "The larger one; NaN where either is.")
minimum = _binary("minimum", torch.minimum, "The smaller one; NaN where either is.")
fmax = _binary("fmax", torch.fmax, "The larger one, without NaN where only one is.")
fmin = _binary("fmin", torch.fmin, "The smaller one, without NaN where only one is.")
arctan2 = _binary("arctan2", lambda y, x: torch.arctan2(as_float(y), as_float(x)), "The angle of the point (x2, x1).")
hypot = _binary("hypot", lambda a, b: torch.hypot(as_float(a), as_float(b)), "`sqrt(x1 ** 2 + x2 ** 2)`.")
logaddexp = _binary("logaddexp", lambda a, b: torch.logaddexp(as_float(a), as_float(b)), "`log(exp(x1) + exp(x2))`.")
equal = _binary("equal", torch.eq, "Whether both are equal.")
not_equal = _binary("not_equal", torch.ne, "Whether both differ.")
less = _binary("less", torch.lt, "Whether `x1 < x2`.")
less_equal = _binary("less_equal", torch.le, "Whether `x1 <= x2`.")
greater = _binary("greater", torch.gt, "Whether `x1 > x2`.")
greater_equal = _binary("greater_equal", torch.ge, "Whether `x1 >= x2`.")
logical_and = _binary("logical_and", torch.logical_and, "Whether neither is 0 or False.")
logical_or = _binary("logical_or", torch.logical_or, "Whether one of them is neither 0 nor False.")
logical_xor = _binary("logical_xor", torch.logical_xor, "Whether exactly one of them is neither 0 nor False.")


@op("numpy", config=())
def bitwise_and(x: Any, y: Any) -> Any:
    """The bits that both have."""
    return torch.bitwise_and(tensor(x), tensor(y))


@op("numpy", config=())
def bitwise_or(x: Any, y: Any) -> Any:
    """The bits that one of them has."""
    return torch.bitwise_or(tensor(x), tensor(y))


@op("numpy", config=())
def bitwise_xor(x: Any, y: Any) -> Any:
    """The bits that exactly one of them has."""
    return torch.bitwise_xor(tensor(x), tensor(y))


@op("numpy", config=("x_min", "x_max"))
def clip(x: Any, x_min: Any, x_max: Any) -> Any:
    """`x`, at least `x_min` and at most `x_max`."""
    return torch.clamp(tensor(x), x_min, x_max)


@op("numpy", config=("decimals",))
def round(x: Any, decimals: int = 0) -> Any:
    """The nearest number of so many decimals, halves to the even one."""
    return torch.round(tensor(x), decimals=decimals)


@op("numpy", config=())
def where(condition: Any, x1: Any = None, x2: Any = None) -> Any:
    """`x1` where the condition holds and `x2` elsewhere; without both, the indices where it holds."""
    if (x1 is None) != (x2 is None):
        raise ValueError(f"where needs both `x1` and `x2`, or neither. Received: x1={x1!r}, x2={x2!r}")
    condition = tensor(condition).to(torch.bool)
    return torch.where(condition) if x1 is None else torch.where(condition, tensor(x1), tensor(x2))


@op("numpy")
def nan_to_num(x: Any, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None) -> Any:
    """`x` with these numbers in the places of NaN and the infinities (default: the largest finite ones)."""
    return torch.nan_to_num(tensor(x), nan, posinf, neginf)


@op("numpy", config=("equal_nan",))
def isclose(x1: Any, x2: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Any:
    """Whether `|x1 - x2| <= atol + rtol * |x2|`."""
    return torch.isclose(tensor(x1), tensor(x2), rtol, atol, equal_nan)
