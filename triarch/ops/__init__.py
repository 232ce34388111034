"""Operations with Keras's names over torch, on tensors and on symbolic tensors.

A function that is given a symbolic tensor is recorded in its graph. `ops.numpy`, `ops.nn`, `ops.image` and `ops.linalg`
hold the parts under the names of Keras's modules.
"""

from triarch.ops import arrays, core, creation, elementwise, image, linalg, math, nn, numpy, products, reductions
from triarch.ops.arrays import *  # noqa: F403 - each module says what it has
from triarch.ops.core import *  # noqa: F403
from triarch.ops.creation import *  # noqa: F403
from triarch.ops.elementwise import *  # noqa: F403
from triarch.ops.linalg import *  # noqa: F403
from triarch.ops.math import *  # noqa: F403
from triarch.ops.nn import *  # noqa: F403
from triarch.ops.products import *  # noqa: F403
from triarch.ops.reductions import *  # noqa: F403

__all__ = ["image", "linalg", "nn", "numpy"]
__all__ += arrays.__all__
__all__ += core.__all__
__all__ += creation.__all__
__all__ += elementwise.__all__
__all__ += linalg.__all__
__all__ += math.__all__
__all__ += nn.__all__
__all__ += products.__all__
__all__ += reductions.__all__
