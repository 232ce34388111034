"""The face: models that are compiled, fitted, evaluated, saved and summarised."""

from triarch.models.cloning import clone_model, model_from_json
from triarch.models.functional import Functional
from triarch.models.model import Model
from triarch.models.sequential import Sequential
from triarch.saving import load_model, save_model

__all__ = ["Functional", "Model", "Sequential", "clone_model", "load_model", "model_from_json", "save_model"]
