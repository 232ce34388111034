"""The face: models that are compiled, fitted, evaluated, saved and summarised."""

from triarch.models.model import Model
from triarch.models.sequential import Sequential
from triarch.saving import load_model, save_model

__all__ = ["Model", "Sequential", "load_model", "save_model"]
