"""Callbacks: what listens to training and steers it."""

from triarch.callbacks.base import Callback
from triarch.callbacks.callback_list import CallbackList
from triarch.callbacks.checkpoint import ModelCheckpoint
from triarch.callbacks.csv_logger import CSVLogger
from triarch.callbacks.history import History
from triarch.callbacks.lambda_callback import LambdaCallback
from triarch.callbacks.learning_rate_scheduler import LearningRateScheduler
from triarch.callbacks.logs import LazyLogs
from triarch.callbacks.monitoring import EarlyStopping, MonitorCallback, ReduceLROnPlateau
from triarch.callbacks.progress import Progbar, ProgbarLogger
from triarch.callbacks.swap_ema_weights import SwapEMAWeights
from triarch.callbacks.tensorboard import TensorBoard
from triarch.callbacks.terminate_on_nan import TerminateOnNaN

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
