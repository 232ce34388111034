"""NumPy's functions, under the name of Keras's module."""

from triarch.ops import arrays, creation, elementwise, products, reductions
from triarch.ops.arrays import *  # noqa: F403 - each module says what it has
from triarch.ops.creation import *  # noqa: F403
from triarch.ops.elementwise import *  # noqa: F403
from triarch.ops.products import *  # noqa: F403
from triarch.ops.reductions import *  # noqa: F403

__all__ = []
__all__ += arrays.__all__
__all__ += creation.__all__
__all__ += elementwise.__all__
__all__ += products.__all__
__all__ += reductions.__all__
