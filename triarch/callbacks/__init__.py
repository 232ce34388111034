"""Callbacks: what listens to training and steers it."""

from triarch.callbacks.base import Callback, LazyLogs
from triarch.callbacks.callback_list import CallbackList
from triarch.callbacks.checkpoint import ModelCheckpoint
from triarch.callbacks.control import LambdaCallback, LearningRateScheduler, SwapEMAWeights, TerminateOnNaN
from triarch.callbacks.csv_logger import CSVLogger
from triarch.callbacks.history import History
from triarch.callbacks.monitoring import EarlyStopping, MonitorCallback, ReduceLROnPlateau
from triarch.callbacks.progress import Progbar, ProgbarLogger
from triarch.callbacks.tensorboard import TensorBoard

__all__ = [
    "CSVLogger",
    "Callback",
    "CallbackList",
    "EarlyStopping",
    "History",
    "LambdaCallback",
    "LazyLogs",
    "LearningRateScheduler",
    "ModelCheckpoint",
    "MonitorCallback",
    "Progbar",
    "ProgbarLogger",
    "ReduceLROnPlateau",
    "SwapEMAWeights",
    "TensorBoard",
    "TerminateOnNaN",
]
