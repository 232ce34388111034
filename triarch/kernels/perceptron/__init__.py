"""Multilayer perceptrons: a training step that is too small for a call of each layer, as one call of compiled code."""

from triarch.kernels.perceptron.job import Pass, Rule, Target
from triarch.kernels.perceptron.plan import Affine, Descent, Learning, Means, Perceptron, refuse, source

__all__ = ["Affine", "Descent", "Learning", "Means", "Pass", "Perceptron", "Rule", "Target", "refuse", "source"]
