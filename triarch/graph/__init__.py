"""Networks as graphs: symbolic tensors, the calls that made them, and how such a graph is computed."""

from triarch.graph.network import Network, Slot, Step
from triarch.graph.structures import leaves, map_structure
from triarch.graph.symbolic import (
    Function,
    Node,
    SymbolicTensor,
    infer_outputs,
    record,
    standardize_shape,
    symbols_in,
)
from triarch.graph.trials import TRIALS, Shape, trial_sizes

__all__ = [
    "TRIALS",
    "Function",
    "Network",
    "Node",
    "Shape",
    "Slot",
    "Step",
    "SymbolicTensor",
    "infer_outputs",
    "leaves",
    "map_structure",
    "record",
    "standardize_shape",
    "symbols_in",
    "trial_sizes",
]
