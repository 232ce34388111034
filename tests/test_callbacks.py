"""Callbacks, with a stand-in for the model: who is told what, what is saved when, what is printed."""

from __future__ import annotations

import csv
import io
import re
import sys
import types
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import triarch
from triarch import callbacks, config, optimizers
from triarch.callbacks import progress, terminate_on_nan
from triarch.callbacks.logs import lazy_logs
from triarch.variable import Variable


class FakeMetric:
    def __init__(self, name: str, direction: str | None) -> None:
        self.name, self._direction = name, direction


class FakeModel:
    """What callbacks know of a model."""

    def __init__(self, learning_rate: float = 1.0, **options: Any) -> None:
        self.weights = [Variable([1.0, 2.0], name="kernel")]
        self.optimizer = optimizers.SGD(learning_rate, **options)
        self.optimizer.build(self.weights)
        self.metrics = [FakeMetric("accuracy", "up"), FakeMetric("mae", "down"), FakeMetric("odd", None)]
        self.stop_training = False
        self.saved: list[tuple[str, str]] = []

    def save(self, filepath: str, overwrite: bool = True) -> None:
        self.saved.append(("model", filepath))

    def save_weights(self, filepath: str, overwrite: bool = True) -> None:
        self.saved.append(("weights", filepath))

    def get_weights(self) -> list[np.ndarray]:
        return [weight.numpy().copy() for weight in self.weights]

    def set_weights(self, weights: list[np.ndarray]) -> None:
        for variable, value in zip(self.weights, weights, strict=True):
            variable.assign(value)

    def named_parameters(self) -> list[tuple[str, torch.Tensor]]:
        return [(f"layer.{number}", weight) for number, weight in enumerate(self.weights)]

    def named_buffers(self) -> list[tuple[str, torch.Tensor]]:
        return []

    def summary(self, print_fn: Any = print) -> None:
        print_fn("A fake model")


def train(model: Any, listeners: Any, epoch_logs: list[dict[str, Any]], steps: int = 2, **params: Any) -> Any:
    """What `fit` does, without a model: every epoch has `steps` batches and then reports its logs."""
    told = callbacks.CallbackList(
        listeners, add_history=True, model=model, epochs=len(epoch_logs), steps=steps, verbose=0, **params
    )
    told.on_train_begin()
    logs: dict[str, Any] = {}
    for epoch, reported in enumerate(epoch_logs):
        told.on_epoch_begin(epoch)
        logs = dict(reported)
        for batch in range(steps):
            told.on_train_batch_begin(batch)
            told.on_train_batch_end(batch, callbacks.LazyLogs(lambda logs=logs: logs))
            if model.stop_training:
                break
        told.on_epoch_end(epoch, logs)
        if model.stop_training:
            break
    told.on_train_end(logs)
    return model.history


def values(name: str, *numbers: float) -> list[dict[str, float]]:
    return [{name: number} for number in numbers]


HOOKS = [name for name in vars(callbacks.Callback) if name.startswith("on_")]


class Recorder(callbacks.Callback):
    """Has every hook, and keeps what it was told."""

    def __init__(self) -> None:
        self.told: list[Any] = []


def _record(name: str) -> Any:
    def hook(self: Recorder, *arguments: Any, **named: Any) -> None:
        self.told.append((name, *[a for a in arguments if isinstance(a, int)]))

    return hook


for _name in HOOKS:
    setattr(Recorder, _name, _record(_name))


def test_every_hook_of_keras_exists(keras):
    theirs = {name for name in vars(keras.callbacks.Callback) if name.startswith("on_")}
    assert set(HOOKS) == theirs


def test_hooks_are_told_in_order():
    recorder = Recorder()
    told = callbacks.CallbackList([[recorder]], model=FakeModel(), epochs=1)
    told.on_train_begin()
    told.on_epoch_begin(0)
    told.on_train_batch_begin(0)
    told.on_train_batch_end(0, {"loss": 1.0})
    told.on_test_begin()
    told.on_test_batch_begin(3)
    told.on_test_batch_end(3)
    told.on_test_end()
    told.on_epoch_end(0, {})
    told.on_train_end()
    told.on_predict_begin()
    told.on_predict_batch_begin(1)
    told.on_predict_batch_end(1, {"outputs": None})
    told.on_predict_end()
    assert recorder.told == [
        ("on_train_begin",),
        ("on_epoch_begin", 0),
        ("on_train_batch_begin", 0),
        ("on_train_batch_end", 0),
        ("on_test_begin",),
        ("on_test_batch_begin", 3),
        ("on_test_batch_end", 3),
        ("on_test_end",),
        ("on_epoch_end", 0),
        ("on_train_end",),
        ("on_predict_begin",),
        ("on_predict_batch_begin", 1),
        ("on_predict_batch_end", 1),
        ("on_predict_end",),
    ]
    assert recorder.params == {"epochs": 1}
    assert isinstance(recorder.model, FakeModel)


def test_only_overridden_hooks_are_kept():
    class OldName(callbacks.Callback):
        seen = 0

        def on_batch_end(self, batch: int, logs: Any = None) -> None:
            self.seen += 1

    by_lambda = callbacks.LambdaCallback(on_train_batch_begin=lambda batch, logs: None)
    old = OldName()
    told = callbacks.CallbackList([old, by_lambda, callbacks.Callback(), callbacks.History()])
    assert {name: len(hooks) for name, hooks in told._hooks.items() if hooks} == {
        "on_epoch_end": 1,
        "on_train_begin": 1,
        "on_batch_end": 1,
        "on_train_batch_end": 1,
        "on_train_batch_begin": 1,
    }
    told.on_train_batch_end(0)
    assert old.seen == 1


def test_callbacks_must_be_instances():
    with pytest.raises(TypeError, match="instances, not classes"):
        callbacks.CallbackList([callbacks.EarlyStopping])
    with pytest.raises(TypeError, match="knows no hook on_epoch_stop"):
        callbacks.LambdaCallback(on_epoch_stop=print)


def test_batch_logs_are_fetched_only_when_looked_at():
    fetched = []

    def fetch() -> dict[str, float]:
        fetched.append(1)
        return {"loss": 2.0}

    logs = callbacks.LazyLogs(fetch)
    assert logs
    assert (logs or {}) is logs
    told = callbacks.CallbackList(callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: None))
    told.on_train_batch_end(0, logs)
    assert fetched == []
    assert dict(logs) == logs.copy() == {"loss": 2.0}
    assert logs["loss"] == logs.get("loss") == 2.0
    assert "acc" not in logs
    assert repr(logs) == "{'loss': 2.0}"
    assert fetched == [1]


def test_tensors_in_logs_become_numbers():
    logs = lazy_logs({"loss": torch.tensor(2.0), "outputs": torch.ones(3)})
    assert type(logs["loss"]) is float
    assert isinstance(logs["outputs"], torch.Tensor)


def test_history():
    model = FakeModel()
    history = train(model, None, values("loss", 3.0, 2.0))
    assert history.history == {"loss": [3.0, 2.0]}
    assert history.epoch == [0, 1]
    assert model.history is history


@pytest.mark.parametrize(
    ("options", "losses", "stopped_after"),
    [
        ({}, [3, 2, 1, 0], 4),
        ({}, [3, 2, 2.5, 0], 3),
        ({"patience": 2}, [3, 4, 5, 0], 3),
        ({"patience": 2}, [3, 4, 2, 3, 3, 0], 5),
        ({"min_delta": 0.5}, [3, 2.6, 2, 1], 2),
        ({"baseline": 1.0, "patience": 2}, [3, 2, 2.5, 0], 3),
        ({"start_from_epoch": 3}, [1, 2, 3, 4, 5, 6], 5),
        ({"mode": "max"}, [1, 2, 3, 2, 9], 4),
    ],
)
def test_early_stopping_as_in_keras(keras, options, losses, stopped_after):
    model = FakeModel()
    stopping = callbacks.EarlyStopping("loss", **options)
    train(model, stopping, values("loss", *losses))
    theirs = keras.callbacks.EarlyStopping("loss", **options)
    their_model = keras.Sequential()
    theirs.set_model(their_model)
    theirs.on_train_begin()
    their_model.stop_training = False
    expected = 0
    for epoch, loss in enumerate(losses):
        theirs.on_epoch_end(epoch, {"loss": loss})
        expected += 1
        if their_model.stop_training:
            break
    assert len(model.history.epoch) == stopped_after == expected
    assert (stopping.best, stopping.wait) == (theirs.best, theirs.wait)


def test_early_stopping_restores_the_best_weights(capsys):
    model = FakeModel()

    def move(epoch: int, logs: Any) -> None:
        model.weights[0].assign([float(epoch), float(epoch)])

    moving = callbacks.LambdaCallback(on_epoch_begin=move)
    stopping = callbacks.EarlyStopping("val_accuracy", patience=2, restore_best_weights=True, verbose=1)
    train(model, [moving, stopping], values("val_accuracy", 0.1, 0.9, 0.5, 0.4, 1.0))
    assert model.weights[0].tolist() == [1.0, 1.0]
    assert capsys.readouterr().out == (
        "Epoch 4: early stopping\nRestoring model weights from the end of the best epoch: 2.\n"
    )


def test_the_direction_of_a_value_comes_from_its_metric():
    model = FakeModel()
    for name, expected in (("accuracy", 1.0), ("val_accuracy", 1.0), ("val_mae", -1.0), ("val_loss", -1.0)):
        stopping = callbacks.EarlyStopping(name)
        stopping.set_model(model)
        assert stopping._find_sign() == expected
    for name in ("odd", "unheard_of"):
        with pytest.raises(ValueError, match=f"'{name}' should be large or small.*mode='max'"):
            train(model, callbacks.EarlyStopping(name), values(name, 1.0))
    with pytest.warns(UserWarning, match="unknown mode 'best'"):
        callbacks.EarlyStopping(mode="best")


def test_a_value_that_is_missing_gives_a_warning():
    with pytest.warns(
        UserWarning, match="EarlyStopping watches 'val_loss', which is not available. Available are: loss"
    ):
        train(FakeModel(), callbacks.EarlyStopping(), values("loss", 1.0))


@pytest.mark.parametrize(
    "options",
    [
        {"patience": 1},
        {"patience": 2, "factor": 0.5},
        {"patience": 1, "cooldown": 2},
        {"patience": 1, "min_lr": 0.05},
        {"patience": 1, "min_delta": 0.5},
    ],
    ids=str,
)
def test_reduce_learning_rate_as_in_keras(keras, options):
    losses = [3.0, 2.0, 2.0, 1.9, 1.9, 1.9, 1.9, 1.0, 1.0, 1.0]
    model, their_model = FakeModel(), keras.Sequential()
    their_model.optimizer = keras.optimizers.SGD(1.0)
    theirs = keras.callbacks.ReduceLROnPlateau("loss", **options)
    theirs.set_model(their_model)
    theirs.on_train_begin()
    expected = []
    for epoch, loss in enumerate(losses):
        logs = {"loss": loss}
        theirs.on_epoch_end(epoch, logs)
        expected.append(logs["learning_rate"])
    history = train(model, callbacks.ReduceLROnPlateau("loss", **options), values("loss", *losses))
    assert history.history["learning_rate"] == pytest.approx(expected)
    assert expected[0] != expected[-1]


def test_reduce_learning_rate_needs_a_factor_below_one():
    with pytest.raises(ValueError, match="factor must be less than 1"):
        callbacks.ReduceLROnPlateau(factor=1.0)


@pytest.mark.parametrize("schedule", [lambda epoch, rate: rate / 2, lambda epoch: 0.5 ** (epoch + 1)])
def test_learning_rate_scheduler(schedule, capsys):
    history = train(FakeModel(), callbacks.LearningRateScheduler(schedule, verbose=1), values("loss", 1.0, 1.0))
    assert history.history["learning_rate"] == [0.5, 0.25]
    assert "Epoch 2: LearningRateScheduler setting learning rate to 0.25." in capsys.readouterr().out


def test_learning_rate_scheduler_refuses_other_than_numbers():
    with pytest.raises(ValueError, match=r"must give a float .* Received: 'fast' for epoch 0"):
        train(FakeModel(), callbacks.LearningRateScheduler(lambda epoch: "fast"), values("loss", 1.0))

    with pytest.raises(ValueError, match="Received: nan for epoch 0"):
        train(FakeModel(), callbacks.LearningRateScheduler(lambda epoch: float("nan")), values("loss", 1.0))

    def broken(epoch: int, rate: float) -> float:
        raise TypeError("inside")

    with pytest.raises(TypeError, match="inside"):
        train(FakeModel(), callbacks.LearningRateScheduler(broken), values("loss", 1.0))


def test_terminate_on_nan(capsys):
    model = FakeModel()
    train(model, callbacks.TerminateOnNaN(), values("loss", 1.0, float("nan"), 1.0))
    assert len(model.history.epoch) == 2
    assert "Batch 0: Invalid loss, terminating training" in capsys.readouterr().out
    with pytest.raises(RuntimeError, match="loss of batch 0 is inf"):
        train(FakeModel(), callbacks.TerminateOnNaN(raise_error=True), values("loss", float("inf")))


def refuse() -> dict[str, float]:
    raise AssertionError("all values were fetched")


def test_terminate_on_nan_reads_the_loss_alone():
    told = callbacks.CallbackList(callbacks.TerminateOnNaN(), model=FakeModel())
    for loss, stops in ((1.0, False), (float("nan"), True)):
        told.on_train_batch_end(0, callbacks.LazyLogs(refuse, {"loss": lambda loss=loss: torch.tensor(loss)}))
        assert told.model.stop_training == stops
    told.model.stop_training = False
    told.on_train_batch_end(0, {"loss": torch.tensor(float("inf"), requires_grad=True), "other": 1.0})
    assert told.model.stop_training


@pytest.mark.parametrize(
    ("losses", "looked_after"),
    [
        ([1.0] * 20 + [float("nan")] * 30, 31),
        ([1.0, float("inf"), 1.0], 3),  # the end of the epoch
        ([1.0] * 50, None),
    ],
)
def test_terminate_on_nan_leaves_losses_on_a_device_for_some_batches(monkeypatch, capsys, losses, looked_after):
    monkeypatch.setattr(terminate_on_nan, "_is_far", lambda loss: True)
    told = callbacks.CallbackList(callbacks.TerminateOnNaN(), model=FakeModel())
    told.on_epoch_begin(0)
    stopped_after = None
    for batch, loss in enumerate(losses):
        told.on_train_batch_end(batch, callbacks.LazyLogs(refuse, {"loss": lambda loss=loss: torch.tensor(loss)}))
        if told.model.stop_training:
            stopped_after = batch
            break
    told.on_epoch_end(0, {})
    if told.model.stop_training and stopped_after is None:
        stopped_after = len(losses)
    assert stopped_after == looked_after
    if looked_after is not None:
        first_bad = next(batch for batch, loss in enumerate(losses) if not np.isfinite(loss))
        assert capsys.readouterr().out.count(f"Batch {first_bad}: Invalid loss") == 1


def test_one_value_can_be_had_without_the_others():
    logs = callbacks.LazyLogs(refuse, {"loss": lambda: 2.0})
    assert logs.peek("loss") == 2.0
    assert lazy_logs(logs).peek("loss") == 2.0
    with pytest.raises(AssertionError, match="all values were fetched"):
        logs.peek("accuracy")
    raw = torch.tensor(3.0)
    assert lazy_logs({"loss": raw, "all": {"inner": raw}}).peek("inner") is raw
    changed = callbacks.LazyLogs(lambda: {"loss": 1.0}, {"loss": lambda: 2.0})
    changed["loss"] = 4.0
    assert changed.peek("loss") == 4.0
    assert changed.peek("none") is None


def test_checkpoint_names_files_by_their_template(tmp_path):
    model = FakeModel()
    path = tmp_path / "new" / "{epoch:02d}-{val_loss:.2f}.keras"
    train(model, callbacks.ModelCheckpoint(path), values("val_loss", 0.5, 0.25))
    assert model.saved == [("model", str(tmp_path / "new" / name)) for name in ("01-0.50.keras", "02-0.25.keras")]
    assert (tmp_path / "new").is_dir()


@pytest.mark.parametrize(
    ("options", "epochs"),
    [
        ({}, [1, 2, 4]),
        ({"mode": "max"}, [1, 3]),
        ({"initial_value_threshold": 2.5}, [2, 4]),
        ({"monitor": "val_accuracy"}, [1, 3]),
    ],
    ids=str,
)
def test_checkpoint_saves_the_best_only(tmp_path, capsys, options, epochs):
    model = FakeModel()
    checkpoint = callbacks.ModelCheckpoint(
        tmp_path / "{epoch}.weights.h5", save_best_only=True, save_weights_only=True, verbose=1, **options
    )
    numbers = [3.0, 2.0, 4.0, 1.0]
    train(model, checkpoint, [{"val_loss": number, "val_accuracy": number} for number in numbers])
    assert model.saved == [("weights", str(tmp_path / f"{epoch}.weights.h5")) for epoch in epochs]
    printed = capsys.readouterr().out
    assert printed.count("did not improve from") == 4 - len(epochs)
    assert printed.count("finished saving model to") == len(epochs)


def test_checkpoint_every_few_batches(tmp_path):
    model = FakeModel()
    checkpoint = callbacks.ModelCheckpoint(tmp_path / "{epoch}-{batch}.keras", save_freq=3)
    train(model, checkpoint, values("loss", 1.0, 1.0), steps=5)
    assert [Path(path).name for _, path in model.saved] == ["1-3.keras", "2-1.keras", "2-4.keras"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"filepath": "model.pt"}, "must end in `.keras` where save_weights_only is False. Received: 'model.pt'"),
        ({"filepath": "m.weights.h5"}, "must end in `.keras` where save_weights_only is False"),
        ({"filepath": "m.keras", "save_weights_only": True}, "must end in `.weights.h5`"),
        ({"filepath": "m.keras", "save_freq": "batch"}, "save_freq must be 'epoch' or a positive whole number"),
        ({"filepath": "m.keras", "save_freq": 0}, "save_freq must be 'epoch' or a positive whole number"),
        ({"filepath": "{epoch.keras"}, "expected '}'"),
    ],
)
def test_checkpoint_bad_arguments(options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        callbacks.ModelCheckpoint(**options)


def test_checkpoint_names_what_the_logs_do_not_have(tmp_path):
    model = FakeModel()
    with pytest.raises(KeyError, match=r"names val_acc, which the logs do not have. Available are: epoch, loss"):
        train(model, callbacks.ModelCheckpoint(tmp_path / "{val_acc:.1f}.keras"), values("loss", 1.0))
    with pytest.warns(UserWarning, match="'val_loss' is not available; the model is saved. Available are: loss"):
        train(model, callbacks.ModelCheckpoint(tmp_path / "m.keras", save_best_only=True), values("loss", 1.0))
    assert len(model.saved) == 1


NAN = float("nan")
KINDS_OF_NUMBERS = {"Python": float, "NumPy": np.float64, "an array": np.array, "a tensor": torch.tensor}


@pytest.mark.parametrize("kind", KINDS_OF_NUMBERS)
@pytest.mark.parametrize(
    ("mode", "numbers", "best", "epochs"),
    [
        ("min", [NAN, 5.0, 4.0, 3.0], 3, 4),
        ("max", [NAN, -5.0, -4.0, -3.0], 3, 4),
        ("min", [NAN, NAN, 4.0, 3.0], 3, 4),
        ("min", [5.0, NAN, NAN, 4.0], 3, 4),
        ("min", [5.0, NAN, NAN, NAN, 4.0], 0, 4),
        ("min", [5.0, NAN, 4.0, NAN], 2, 4),
        ("max", [NAN, 1.0, NAN, 2.0], 3, 4),
        ("min", [float("inf"), NAN, 2.0, 1.0], 3, 4),
        ("max", [-float("inf"), NAN, 2.0, 3.0], 3, 4),
        ("min", [float("inf"), float("inf"), float("inf"), float("inf"), 1.0], 0, 4),
        ("min", [NAN, NAN, NAN, NAN], 0, 3),
    ],
)
def test_a_value_that_is_no_number_is_never_the_best(mode, numbers, best, epochs, kind, tmp_path):
    class Step(callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.model.set_weights([[float(epoch), 0.0]])

    logs = [{"score": KINDS_OF_NUMBERS[kind](number)} for number in numbers]
    model, is_stopped = FakeModel(), best == 0
    stopping = callbacks.EarlyStopping("score", patience=3, mode=mode, restore_best_weights=True)
    history = train(model, [Step(), stopping], logs)
    assert len(history.epoch) == epochs
    assert model.get_weights()[0][0] == best

    model = FakeModel()
    train(model, callbacks.ReduceLROnPlateau("score", patience=3, mode=mode, factor=0.5), logs)
    assert float(model.optimizer.learning_rate) == (0.5 if is_stopped else 1.0)

    model, path = FakeModel(), tmp_path / "{epoch}.keras"
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        train(model, callbacks.ModelCheckpoint(path, "score", save_best_only=True, mode=mode), logs)
    assert len(warned) == np.isnan(numbers).sum()
    saved = [int(Path(name).stem) - 1 for _, name in model.saved]
    assert saved == sorted(saved)
    assert saved[-1:] == ([] if np.isnan(numbers).all() else [_best_of(mode, numbers)])


def _best_of(mode: str, numbers: list[float]) -> int:
    return int(np.nanargmin(numbers) if mode == "min" else np.nanargmax(numbers))


@pytest.mark.parametrize("baseline", [2.0, NAN])
def test_a_baseline_beside_values_that_are_no_numbers(baseline):
    stopping = callbacks.EarlyStopping("score", patience=2, mode="min", baseline=baseline)
    history = train(FakeModel(), stopping, values("score", NAN, 3.0, 2.5, 1.5, 1.0))
    assert len(history.epoch) == 5
    history = train(FakeModel(), stopping, values("score", 3.0, NAN, NAN, 1.0))
    assert len(history.epoch) == (3 if np.isnan(baseline) else 2)


def test_several_numbers_cannot_be_watched():
    for listener in (callbacks.EarlyStopping("score", mode="min"), callbacks.ReduceLROnPlateau("score", mode="min")):
        with pytest.raises(ValueError, match=r"watches one number; 'score' has 2\. Received: array"):
            train(FakeModel(), listener, [{"score": np.ones(2)}])


@pytest.mark.parametrize("whole", [True, False], ids=["model", "weights"])
def test_a_second_training_keeps_a_better_model_of_the_first(whole, tmp_path, keras):
    x = np.linspace(-1, 1, 16, dtype="float32")[:, None]
    path = tmp_path / ("best.keras" if whole else "best.weights.h5")

    def model_of(weight):
        model = triarch.Sequential([triarch.layers.Input((1,)), triarch.layers.Dense(1, use_bias=False)])
        model.compile("sgd", "mse", metrics=["mae"])
        model.set_weights([[[weight]]])
        model.optimizer.learning_rate = 0.0
        return model

    def run(weight, **options):
        checkpoint = callbacks.ModelCheckpoint(path, save_best_only=True, save_weights_only=not whole, **options)
        model_of(weight).fit(x, 3 * x, validation_data=(x, 3 * x), epochs=2, callbacks=[checkpoint], verbose=0)
        found = model_of(0.0)
        found.load_weights(path)
        if whole:
            assert keras.saving.load_model(path).get_weights()[0] == found.get_weights()[0]
        return float(found.get_weights()[0][0, 0])

    assert run(2.0) == 2.0
    with pytest.warns(UserWarning, match=r"best.* holds a model whose val_loss was .* To start anew, delete the file"):
        assert run(1.0) == 2.0
    with pytest.warns(UserWarning, match="replaces it by a better one only"):
        assert run(2.5) == 2.5
    assert run(1.0, monitor="val_mae", mode="max") == 1.0  # nothing is known of this value
    with pytest.warns(UserWarning, match="whose val_mae was"):
        assert run(2.0, monitor="val_mae", mode="max") == 1.0
    assert run(2.0, initial_value_threshold=np.inf) == 2.0
    path.write_bytes(b"damaged")
    assert run(1.0) == 1.0


def test_a_callback_serves_for_a_second_training():
    stopping = callbacks.EarlyStopping("score", patience=1, mode="min", restore_best_weights=True)
    reducing = callbacks.ReduceLROnPlateau("score", patience=1, mode="min")
    for first in (1.0, 5.0):  # the second is worse from its first epoch on
        model = FakeModel()
        assert len(train(model, [stopping, reducing], values("score", first, first - 0.5, 9.0, 9.0)).epoch) == 3
        assert stopping.best == reducing.best == first - 0.5


def test_csv_logger_goes_on_in_the_columns_of_its_file(tmp_path):
    path = tmp_path / "log.csv"
    train(FakeModel(), callbacks.CSVLogger(path), [{"loss": 1.0, "acc": 0.5}])
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"without a column.*'mae'.*Choose another file"):
        train(FakeModel(), callbacks.CSVLogger(path, append=True), [{"loss": 1.0, "mae": 3.0}])
    assert path.read_bytes() == before
    path.write_bytes(before.rstrip())  # its writer was stopped
    train(FakeModel(), callbacks.CSVLogger(path, append=True), [{"loss": 2.0, "val_acc": 0.25}])
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["loss"] for row in rows] == ["1.0", "2.0"]
    assert rows[1]["acc"] == rows[1]["val_loss"] == "NA"
    assert rows[1]["val_acc"] == "0.25"
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=r"`epoch` first.*other.csv"):
        train(FakeModel(), callbacks.CSVLogger(tmp_path / "other.csv", append=True), values("loss", 1.0))


def test_csv_logger_equals_keras(keras, tmp_path):
    logs = [{"loss": 1.0, "acc": 0.5}, {"loss": 0.5, "val_loss": 0.25, "val_acc": 0.1, "acc": 0.7}]
    theirs = keras.callbacks.CSVLogger(str(tmp_path / "theirs.csv"), separator=";")
    theirs.on_train_begin()
    for epoch, row in enumerate(logs):
        theirs.on_epoch_end(epoch, row)
    theirs.on_train_end()
    train(FakeModel(), callbacks.CSVLogger(tmp_path / "ours.csv", separator=";"), logs)
    assert (tmp_path / "ours.csv").read_bytes().splitlines() == (tmp_path / "theirs.csv").read_bytes().splitlines()


def test_csv_logger_appends_and_writes_at_once(tmp_path):
    path = tmp_path / "log.csv"
    rows_seen = []

    def look(epoch: int, logs: Any) -> None:
        rows_seen.append(len(path.read_text().splitlines()))

    watcher = callbacks.LambdaCallback(on_epoch_end=look)
    for _ in range(2):
        train(FakeModel(), [callbacks.CSVLogger(path, append=True), watcher], values("loss", 1.0, 2.0))
    assert rows_seen == [2, 3, 4, 5]
    with path.open(newline="") as file:
        assert [row["loss"] for row in csv.DictReader(file)] == ["1.0", "2.0", "1.0", "2.0"]
    with pytest.raises(RuntimeError, match="on_train_begin"):
        callbacks.CSVLogger(path).on_epoch_end(0, {})


def test_swap_ema_weights():
    model = FakeModel(use_ema=True, ema_momentum=0.5)
    swap = callbacks.SwapEMAWeights()
    swap.set_model(model)
    for _ in range(2):
        model.optimizer.apply([torch.ones(2)])
    trained = model.weights[0].tolist()
    swap.on_test_end()
    assert model.weights[0].tolist() == trained
    swap.on_test_begin()
    another = callbacks.SwapEMAWeights()
    another.set_model(model)
    another.on_test_begin()
    assert model.weights[0].tolist() == [-0.5, 0.5]
    swap.on_test_end()
    assert model.weights[0].tolist() == trained == [-1.0, 0.0]


@pytest.mark.parametrize("stops_early", [False, True])
def test_swap_ema_weights_on_epochs_ends_with_the_averages(stops_early):
    model = FakeModel(use_ema=True, ema_momentum=0.5)
    seen = []

    def step(batch: int, logs: Any) -> None:
        model.optimizer.apply([torch.ones(2)])

    def look(epoch: int, logs: Any) -> None:
        seen.append(model.weights[0][0].item())
        model.stop_training = stops_early and epoch == 1

    stepping, looking = callbacks.LambdaCallback(on_train_batch_end=step), callbacks.LambdaCallback(on_epoch_end=look)
    epochs = 4 if stops_early else 2
    train(model, [stepping, callbacks.SwapEMAWeights(swap_on_epoch=True), looking], [{}] * epochs, steps=1)
    model.optimizer.finalize_variable_values(model.weights)
    assert seen == [0.0, -0.5]
    assert model.weights[0].tolist() == [-0.5, 0.5]


def test_swap_ema_weights_needs_averages():
    swap = callbacks.SwapEMAWeights()
    swap.set_model(FakeModel())
    with pytest.raises(ValueError, match="use_ema=True"):
        swap.on_test_begin()


def test_tensorboard_writes_events(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    board = callbacks.TensorBoard(tmp_path, histogram_freq=1, write_steps_per_second=True, update_freq="batch")
    model = FakeModel()
    model.weights.append(torch.nn.Parameter(torch.ones(3)))  # of a plain torch module
    model.weights.append(Variable([float("nan")], name="diverged"))
    train(model, board, [{"loss": 2.0, "val_loss": 3.0}, {"loss": 1.0, "val_loss": 2.5}])
    written = {}
    for part in ("train", "validation"):
        events = accumulator.EventAccumulator(str(tmp_path / part))
        events.Reload()
        written[part] = {tag: [e.value for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
        if part == "train":
            assert events.Tags()["histograms"] == ["kernel/histogram", "layer/1/histogram"]
            assert "model/text_summary" in events.Tags()["tensors"]
    assert written["train"]["epoch_loss"] == [2.0, 1.0]
    assert written["train"]["batch_loss"] == [2.0, 2.0, 1.0, 1.0]
    assert written["train"]["epoch_learning_rate"] == [1.0, 1.0]
    assert all(value > 0 for value in written["train"]["epoch_steps_per_second"])
    assert written["validation"] == {"epoch_loss": [3.0, 2.5]}


def test_tensorboard_refuses_what_it_cannot_do(monkeypatch):
    for name, value in (("write_images", True), ("profile_batch", 2), ("embeddings_freq", 1)):
        with pytest.raises(ValueError, match=f"does not support {name}"):
            callbacks.TensorBoard(**{name: value})
    with pytest.raises(ValueError, match="update_freq"):
        callbacks.TensorBoard(update_freq=0)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ImportError, match=re.escape('pip install "triarch[tensorboard]"')):
        callbacks.TensorBoard()


class Terminal(io.StringIO):
    encoding = "utf-8"  # type: ignore[assignment]

    def isatty(self) -> bool:
        return True


class Clock:
    """Time that passes only when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress.time, "perf_counter", clock)
    return clock


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    terminal = Terminal()
    monkeypatch.setattr(progress, "sys", types.SimpleNamespace(stdout=terminal, modules={}))
    monkeypatch.setenv("COLUMNS", "100")
    return terminal


BOLD, GREEN, WHITE, PLAIN = "\x1b[1m", "\x1b[32m", "\x1b[37m", "\x1b[0m"


def test_progress_on_a_terminal_is_drawn_over_itself(clock, terminal):
    bar = callbacks.Progbar(10, stateless_metrics=())
    for step in range(1, 11):
        clock.now += 0.5
        bar.update(step, [("loss", 1 / step)])
    drawings = terminal.getvalue().split("\r")[1:]
    assert len(drawings) == 10
    assert drawings[3] == (
        f"{BOLD} 4/10{PLAIN} {GREEN}{'━' * 8}{PLAIN}{WHITE}{'━' * 12}{PLAIN} {BOLD}3s{PLAIN} 500ms/step - loss: 0.2500"
    )
    assert drawings[9] == (
        f"{BOLD}10/10{PLAIN} {GREEN}{'━' * 20}{PLAIN}{WHITE}{PLAIN} {BOLD}5s{PLAIN} 500ms/step - loss: 0.1000\n"
    )


def test_progress_erases_what_a_longer_line_left(clock, terminal):
    bar = callbacks.Progbar(3, stateless_metrics=())
    for values in ([("loss", 0.5)], [("loss", 12345.678)], [("loss", 0.5)]):
        clock.now += 1.0
        bar.update(bar._seen + 1, values)
    last, before = terminal.getvalue().split("\r")[-1], terminal.getvalue().split("\r")[-2]
    visible = [len(re.sub(r"\x1b\[\d+m", "", line).rstrip("\n")) for line in (before, last)]
    assert visible[0] == visible[1]


def test_progress_fits_the_terminal(clock, terminal, monkeypatch):
    monkeypatch.setenv("COLUMNS", "50")
    bar = callbacks.Progbar(10, stateless_metrics=())
    clock.now += 1.0
    bar.update(1, [("a_metric_with_a_very_long_name", 0.5), ("another", 0.5)])
    assert len(re.sub(r"\x1b\[\d+m|\r", "", terminal.getvalue())) < 50


def test_progress_is_drawn_ten_times_a_second_at_most_and_logs_read_no_more_often(clock, terminal):
    fetched = []
    told = callbacks.CallbackList(callbacks.ProgbarLogger(), epochs=2, steps=1000, verbose=1)
    told.on_train_begin()
    told.on_epoch_begin(0)
    for batch in range(1000):
        clock.now += 0.001
        told.on_train_batch_end(batch, callbacks.LazyLogs(lambda: fetched.append(1) or {"loss": 1.0}))
    told.on_epoch_end(0, {"loss": 1.0, "val_loss": 2.0})
    assert terminal.getvalue().startswith("Epoch 1/2\n\r")
    assert 9 <= len(fetched) <= 11
    assert terminal.getvalue().count("\r") == len(fetched) + 1
    assert terminal.getvalue().endswith(" 1ms/step - loss: 1.0000 - val_loss: 2.0000\n")


def test_progress_in_a_pipe_is_plain_lines(clock, capsys):
    told = callbacks.CallbackList(callbacks.ProgbarLogger(), epochs=1, steps=230, verbose=1)
    told.on_train_begin()
    told.on_epoch_begin(0)
    for batch in range(230):
        clock.now += 0.125
        told.on_train_batch_end(batch, {"loss": 0.00012})
    told.on_epoch_end(0, {"loss": 0.5})
    lines = capsys.readouterr().out
    assert "\r" not in lines
    assert "\x1b" not in lines
    assert lines.splitlines() == [
        " 80/230 - 10s - 18s left - 125ms/step - loss: 1.2000e-04",
        "160/230 - 20s - 8s left - 125ms/step - loss: 1.2000e-04",
        "230/230 - 29s - 125ms/step - loss: 0.5000",
    ]


@pytest.mark.parametrize(("verbose", "lines"), [(0, []), (2, ["Epoch 1/3", "2/2 - 4s - 2s/step - loss: 0.5000"])])
def test_other_verbosities(clock, capsys, verbose, lines):
    told = callbacks.CallbackList(None, add_progbar=True, epochs=3, steps=2, verbose=verbose)
    told.on_train_begin()
    told.on_epoch_begin(0)
    for batch in range(2):
        clock.now += 2.0
        told.on_train_batch_end(batch, {"loss": 7.0})
    told.on_epoch_end(0, {"loss": 0.5})
    assert capsys.readouterr().out.splitlines() == lines


def test_progress_without_a_known_number_of_steps(clock, terminal):
    told = callbacks.CallbackList(callbacks.ProgbarLogger(), epochs=1, steps=None, verbose=1)
    told.on_test_begin()
    for batch in range(3):
        clock.now += 1.0
        told.on_test_batch_end(batch, {"loss": 1.0})
    told.on_test_end({"loss": 1.0})
    drawings = [re.sub(r"\x1b\[\d+m", "", line).strip() for line in terminal.getvalue().split("\r")[1:]]
    assert drawings[0] == "1/Unknown 1s 1s/step - loss: 1.0000"
    assert drawings[-1] == f"3/3 {'━' * 20} 3s 1s/step - loss: 1.0000"


def test_validation_inside_fit_is_silent(clock, capsys):
    told = callbacks.CallbackList(callbacks.ProgbarLogger(), epochs=1, steps=1, verbose=1)
    told.on_train_begin()
    told.on_epoch_begin(0)
    told.on_train_batch_end(0, {"loss": 1.0})
    told.on_test_begin()
    told.on_test_batch_end(0, {"loss": 9.0})
    told.on_test_end({"loss": 9.0})
    told.on_epoch_end(0, {"loss": 1.0})
    told.on_train_end()
    assert capsys.readouterr().out == "1/1 - 0s - 0s/step - loss: 1.0000\n"


def test_progress_of_prediction_shows_no_outputs(clock, capsys):
    told = callbacks.CallbackList(None, add_progbar=True, epochs=1, steps=1, verbose=1)
    told.on_predict_begin()
    told.on_predict_batch_end(0, {"outputs": torch.ones(2)})
    told.on_predict_end()
    assert capsys.readouterr().out == "1/1 - 0s - 0s/step\n"


@pytest.mark.parametrize("options", [{}, {"stateful_metrics": ["b"]}, {"stateless_metrics": ["a"]}], ids=str)
def test_averages_equal_keras(keras, options):
    ours, theirs = callbacks.Progbar(6, **options), keras.utils.Progbar(6, **options)
    for current, number in ((1, 1.0), (3, 4.0), (4, 2.0)):
        ours.update(current, [("a", number), ("b", 10 * number)])
        theirs.update(current, [("a", number), ("b", 10 * number)])
    means = {name: total / max(1, count) for name, (total, count) in ours._sums.items()}
    assert means == {name: total / max(1, count) for name, (total, count) in theirs._values.items()}


def test_only_one_kind_of_metrics_can_be_listed():
    with pytest.raises(ValueError, match="Only one of stateful_metrics and stateless_metrics"):
        callbacks.Progbar(1, stateful_metrics=[], stateless_metrics=[])


def test_messages_go_to_the_logger_where_interactive_logging_is_off(clock, capsys, caplog):
    config.disable_interactive_logging()
    try:
        with caplog.at_level("INFO", logger="triarch"):
            callbacks.Progbar(1).update(1, [("loss", 0.5)])
    finally:
        config.enable_interactive_logging()
    assert capsys.readouterr().out == ""
    assert caplog.messages == ["1/1 - 0s - 0s/step - loss: 0.5000"]


def test_the_bar_needs_no_unicode(clock, terminal):
    terminal.encoding = "ascii"
    clock.now += 1.0
    callbacks.Progbar(2).update(1)
    assert "=" * 10 in terminal.getvalue()


@pytest.mark.parametrize(("seconds", "text"), [(5.9, "5s"), (75, "1:15"), (3725, "1:02:05")])
def test_durations(seconds, text):
    assert progress._duration(seconds) == text
