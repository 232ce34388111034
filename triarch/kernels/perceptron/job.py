"""What the kernel of a perceptron is told: addresses and sizes (in numbers, not bytes), one record for all passes."""

from __future__ import annotations

from enum import IntEnum

import numpy as np

DEPTH = 16  # layers at most


class Pass(IntEnum):
    """How far a call goes; each pass contains those before."""

    PREDICT = 0
    EVALUATE = 1  # loss and hits as well
    DIFFERENTIATE = 2  # and the gradients
    LEARN = 3  # and the update of the weights


class Target(IntEnum):
    """What the labels are, and with that the function behind the last layer, the loss and what a hit is."""

    CLASSES = 0  # class numbers (rows,): softmax and cross-entropy; the highest probability is at the label
    DISTRIBUTIONS = 1  # (rows, units): the same; the highest probability is where the highest label is
    DECISIONS = 2  # (rows, units) of 0 and 1: sigmoid and binary cross-entropy; a probability above 1/2 means 1
    VALUES = 3  # (rows, units): the outputs as they are and the squared error; there are no hits


class Rule(IntEnum):
    """How weights follow their gradients."""

    SGD = 0
    ADAM = 1


_ADDRESSES = (
    "inputs",  # (rows, features of the first layer)
    "targets",  # int64 for classes, else as the weights
    "outputs",  # (rows, units of the last layer), what the model gives; may be 0
    "inputs_gradient",  # as the inputs; may be 0
    "loss_total",  # the totals and counts of the means that are reported, of the weights' type; may be 0
    "loss_count",
    "hits_total",
    "hits_count",
    "updates",  # the number of updates, int32; may be 0
    "transposed",  # working memory: a kernel turned over
    "scratch_a",  # the operands and the result of a product that is smaller than a tile
    "scratch_b",
    "scratch_c",
)
_OF_LAYERS = (
    *("features", "units"),
    *("kernel", "kernel_gradient", "kernel_momentum", "kernel_velocity"),
    *("bias", "bias_gradient", "bias_momentum", "bias_velocity"),  # 0 where there is none
    "outputs_of",  # (rows, units) after the rectifier; of the last layer the logits
    "gradient_of",  # (rows, units), of what was rectified
)
_NUMBERS = (
    *("rate", "momentum", "nesterov"),  # of SGD
    *("beta_1", "beta_2", "epsilon"),  # of Adam, whose `rate` is corrected for the first steps' zeros
    "threshold",  # above which a probability means 1
)

# Of an update alone: `parts` are the addresses of weights, gradients, momentum and velocity, and how many numbers.
UPDATE = np.dtype(
    [(name, np.int64) for name in ("rule", "count", "parts")] + [(name, np.float64) for name in _NUMBERS[:-1]]
)
JOB = np.dtype(
    [(name, np.int64) for name in ("passes", "target", "rule", "is_done", "rows", "layers", *_ADDRESSES)]
    + [(name, np.int64, (DEPTH,)) for name in _OF_LAYERS]
    + [(name, np.float64, (DEPTH,)) for name in ("slope", "cap")]
    + [(name, np.float64) for name in _NUMBERS]
)
