"""What a kernel of recurrence is told: addresses, and sizes in numbers (not bytes), one record for all passes.

Series lie one after the other, each with its steps in the order of time: series `i` has `lengths[i]` steps from
`offsets[i]` on. `held` is the number of units, made up to whole tiles with units that stay 0.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Sizes(NamedTuple):
    """Of a cell.

    Args:
        gates: That it has.
        added: Those whose products with inputs and with states are added.
        blocks: Sums of products: as many as gates, and those that are not added once more.
    """

    gates: int
    added: int
    blocks: int


SIZES = {"simple": Sizes(1, 1, 1), "lstm": Sizes(4, 4, 4), "gru": Sizes(3, 2, 4)}
CHUNK = 64  # steps whose part of the weights' gradients a thread adds up at a time

_ADDRESSES = (
    *("order", "offsets", "lengths"),  # int64: the series, longest first; where each begins, and its steps
    "inputs",  # (steps of all series, features)
    *("inputs_mask", "states_mask"),  # (gates, series, features or units): each gate's own dropout; may be 0
    "gates",  # (steps of all series, gates, held); may be 0
    "outputs",  # (steps of all series, held); may be 0
    "memory",  # (steps of all series, held): what else the backward pass needs; may be 0
    *("own_kernel", "own_recurrent_kernel", "own_bias"),  # as the layer has them; the bias may be 0
    "kernel",  # (gates * held / panel, features + held, panel), of which these are the first rows
    "recurrent_kernel",  # the last rows
    "turned",  # the same for the way back: (gates or 1, held / panel, held or gates * held, panel)
    "bias",  # (blocks, held)
    *("h_first", "c_first", "h_last", "c_last"),  # (series, units); those of C may be 0
    "output_gradient",  # (steps of all series, units); may be 0
    "gate_gradient",  # (steps of all series, gates, held)
    "extra_gradient",  # (steps of all series, held), of a GRU
    *("h_gradient", "c_gradient"),  # (series, units): of the last states, then of the first; may be 0
    "sums",  # (threads, rows_of_inputs + rows_of_states, blocks * held): of the weights' gradients
    *("kernel_gradient", "recurrent_gradient", "bias_gradient"),  # as the layer has the weights
    "workspace",  # (threads, workspace_step)
)
_SIZES = (
    *("series", "steps", "features", "units", "held"),
    "goes_backwards",
    "is_packed",  # or the forward kernels are matrices of their own, (features or held, gates * held)
    *("rows_of_inputs", "rows_of_states"),  # features and units, one more each, in whole tiles
    "workspace_step",
)

JOB = np.dtype([(name, np.int64) for name in (*_ADDRESSES, *_SIZES)])
