"""`fit`, `evaluate` and `predict` on every kind of data, and what they refuse."""

import copy
import os
import pickle
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

import triarch
from triarch import layers

RNG = np.random.default_rng(0)
X = RNG.random((50, 4), dtype="float32")
Y = (X.sum(1) > 2).astype("int64")


def classifier(**options):
    triarch.utils.set_random_seed(1)
    model = triarch.Sequential([layers.Input((4,)), layers.Dense(8, activation="tanh"), layers.Dense(2, "softmax")])
    settings = {"optimizer": "adam", "loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"]}
    model.compile(**(settings | options))
    return model


HANGS_IF_FORKED_WITH_THREADS = """
import numpy as np, torch, triarch
torch.set_num_threads(2)
class Batches(triarch.utils.PyDataset):
    def __len__(self):
        return 4
    def __getitem__(self, index):
        return torch.ones(300, 300) @ torch.ones(300, 4), np.zeros((300, 1))
model = triarch.Sequential([triarch.layers.Dense(1)])
model.compile("sgd", "mse")
torch.ones(500, 500) @ torch.ones(500, 500)
model.fit(Batches(workers=2, use_multiprocessing=True), verbose=0)
print("done")
"""


def test_worker_processes_may_use_torch():
    environment = os.environ | {"OMP_NUM_THREADS": "2"}
    command = [sys.executable, "-c", HANGS_IF_FORKED_WITH_THREADS]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "done\n"


class Batches(triarch.utils.PyDataset):
    def __init__(self, **options):
        super().__init__(**options)
        self.epochs_begun = 0

    def __len__(self):
        return 5

    def __getitem__(self, index):
        return X[index * 10 : (index + 1) * 10], Y[index * 10 : (index + 1) * 10]

    def on_epoch_begin(self):
        self.epochs_begun += 1


def generator():
    for start in range(0, 50, 10):
        yield X[start : start + 10], Y[start : start + 10]


def endless():
    while True:
        yield from generator()


def loader():
    return torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(torch.from_numpy(X), torch.from_numpy(Y)), batch_size=10
    )


SOURCES = {
    "arrays": ((X, Y), {"batch_size": 10, "shuffle": False}),
    "doubles": ((X.astype("float64"), Y), {"batch_size": 10, "shuffle": False}),
    "lists": ((X.tolist(), Y.tolist()), {"batch_size": 10, "shuffle": False}),
    "tensors": ((torch.from_numpy(X), torch.from_numpy(Y)), {"batch_size": 10, "shuffle": False}),
    "read-only arrays": ((np.broadcast_to(X, X.shape), Y), {"batch_size": 10, "shuffle": False}),
    "DataLoader": ((loader(),), {}),
    "DataLoader with steps": ((loader(),), {"steps_per_epoch": 5}),
    "generator": ((generator(),), {}),
    "endless generator": ((endless(),), {"steps_per_epoch": 5}),
    "PyDataset": ((Batches(),), {"shuffle": False}),
    "PyDataset with threads": ((Batches(workers=3, max_queue_size=2),), {"shuffle": False}),
    "PyDataset with processes": ((Batches(workers=2, use_multiprocessing=True),), {"shuffle": False}),
}


@pytest.mark.parametrize("name", SOURCES)
def test_every_source_gives_the_same_training(name):
    data, options = SOURCES[name]
    expected = classifier()
    expected.fit(X, Y, batch_size=10, shuffle=False, verbose=0)
    model = classifier()
    history = model.fit(*data, verbose=0, **options)
    for mine, theirs in zip(model.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert history.history["loss"] == expected.history.history["loss"]


def test_history_and_learning():
    model = classifier(optimizer=triarch.optimizers.Adam(0.03))
    history = model.fit(X, Y, epochs=30, batch_size=8, validation_split=0.2, verbose=0)
    assert set(history.history) == {"accuracy", "loss", "val_accuracy", "val_loss"}
    assert len(history.epoch) == 30
    assert history.history["loss"][-1] < 0.8 * history.history["loss"][0]


def test_a_seed_makes_a_run_repeat_bit_for_bit():
    runs = []
    for _ in range(2):
        triarch.utils.set_random_seed(7)
        model = triarch.Sequential([layers.Dense(16, "relu"), layers.Dropout(0.3), layers.Dense(2, "softmax")])
        model.compile("adam", "sparse_categorical_crossentropy")
        runs.append((model.fit(X, Y, epochs=3, verbose=0).history, model.get_weights()))
    assert runs[0][0] == runs[1][0]
    for first, second in zip(runs[0][1], runs[1][1], strict=True):
        np.testing.assert_array_equal(first, second)


def test_sample_weight_zero_removes_samples():
    weight = np.ones(50, "float32")
    weight[25:] = 0
    model, other = classifier(optimizer="sgd", loss=triarch.losses.SparseCategoricalCrossentropy(reduction="sum")), None
    model.fit(X, Y, sample_weight=weight, batch_size=50, verbose=0)
    other = classifier(optimizer="sgd", loss=triarch.losses.SparseCategoricalCrossentropy(reduction="sum"))
    other.fit(X[:25], Y[:25], batch_size=50, verbose=0)
    for mine, theirs in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-7)


def test_class_weight_is_a_sample_weight():
    model, other = classifier(), classifier()
    model.fit(X, Y, class_weight={0: 3.0}, shuffle=False, verbose=0)
    other.fit(X, Y, sample_weight=np.where(Y == 0, 3.0, 1.0), shuffle=False, verbose=0)
    for mine, theirs in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_weighted_metrics_use_the_weights():
    model = classifier(metrics=["accuracy"], weighted_metrics=["accuracy"])
    weight = (Y == 1).astype("float32")
    logs = model.evaluate(X, Y, sample_weight=weight, verbose=0, return_dict=True)
    right = model.predict(X, verbose=0).argmax(1) == Y
    assert logs["accuracy"] == pytest.approx(right.mean())
    assert logs["weighted_accuracy"] == pytest.approx(right[Y == 1].mean())


def test_evaluate_forms():
    model = classifier()
    loss, accuracy = model.evaluate(X, Y, verbose=0)
    assert model.evaluate(X, Y, verbose=0, return_dict=True) == {"loss": loss, "accuracy": accuracy}
    assert model.metrics_names == ["loss", "accuracy"]
    model.compile("adam", "sparse_categorical_crossentropy")
    assert model.evaluate(X, Y, verbose=0) == pytest.approx(loss)


def test_predict_joins_batches():
    model = classifier()
    outputs = model.predict(X, batch_size=7, verbose=0)
    assert isinstance(outputs, np.ndarray)
    np.testing.assert_allclose(outputs, model(X).detach().numpy(), rtol=1e-6)
    np.testing.assert_array_equal(model.predict_on_batch(X[:7]), outputs[:7])
    np.testing.assert_allclose(model.predict(loader(), verbose=0), outputs, rtol=1e-6)
    np.testing.assert_allclose(model.predict(endless(), steps=2, verbose=0), outputs[:20], rtol=1e-6)


def test_on_batch_methods():
    model = classifier()
    first = model.train_on_batch(X, Y, return_dict=True)
    assert set(first) == {"loss", "accuracy"}
    model.reset_metrics()
    loss, accuracy = model.test_on_batch(X, Y)
    assert [loss, accuracy] == pytest.approx(model.evaluate(X, Y, batch_size=50, verbose=0))
    assert not model.training


def test_several_steps_an_execution():
    seen = []
    watch = triarch.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: seen.append(batch))
    model, other = classifier(steps_per_execution=2), classifier()
    model.fit(X, Y, batch_size=10, shuffle=False, verbose=0, callbacks=[watch])
    other.fit(X, Y, batch_size=10, shuffle=False, verbose=0)
    assert seen == [1, 3, 4]
    np.testing.assert_array_equal(model.get_weights()[0], other.get_weights()[0])
    assert model.predict(X, batch_size=10, verbose=0).shape == (50, 2)


def test_steps_go_on_through_the_data():
    model = classifier()
    seen = []
    watch = triarch.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: seen.append(batch))
    model.fit(X, Y, batch_size=10, epochs=3, steps_per_epoch=2, verbose=0, callbacks=[watch])
    assert seen == [0, 1, 0, 1, 0, 1]


def test_validation_frequency_and_initial_epoch():
    model = classifier()
    history = model.fit(X, Y, epochs=6, initial_epoch=2, validation_data=(X, Y), validation_freq=2, verbose=0)
    assert history.epoch == [2, 3, 4, 5]
    assert len(history.history["val_loss"]) == 2


def test_stop_training_stops():
    class Stop(triarch.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            assert logs["loss"] > 0
            self.model.stop_training = batch == 1

    model = classifier()
    history = model.fit(X, Y, batch_size=10, epochs=4, verbose=0, callbacks=[Stop()])
    assert history.epoch == [0]


def test_dict_and_tuple_inputs_and_several_outputs():
    class Two(triarch.Model):
        def __init__(self):
            super().__init__()
            self.left, self.right = layers.Dense(3), layers.Dense(2, activation="softmax")

        def call(self, inputs):
            return {"a": self.left(inputs["x"]), "b": self.right(inputs["z"])}

    model = Two()
    model.compile(
        "sgd",
        loss={"a": "mse", "b": "sparse_categorical_crossentropy"},
        loss_weights={"a": 0.5, "b": 2.0},
        metrics={"b": ["accuracy"]},
    )
    data = {"x": X, "z": X[:, :2]}
    history = model.fit(data, {"a": X[:, :3], "b": Y}, epochs=2, verbose=0).history
    assert set(history) == {"loss", "a_loss", "b_loss", "b_accuracy"}
    assert history["loss"][0] == pytest.approx(0.5 * history["a_loss"][0] + 2 * history["b_loss"][0], rel=1e-5)
    outputs = model.predict(data, verbose=0)
    assert outputs["a"].shape == (50, 3)
    assert outputs["b"].shape == (50, 2)


def test_regularizers_and_added_losses_count():
    class Extra(triarch.Layer):
        def call(self, inputs):
            self.add_loss(inputs.square().mean())
            return inputs

    kernel = layers.Dense(1, use_bias=False, kernel_regularizer=triarch.regularizers.L2(0.1))
    model = triarch.Sequential([layers.Input((4,)), Extra(), kernel])
    model.compile("sgd", "mse")
    y = np.zeros((50, 1), "float32")
    expected = np.mean((X @ kernel.get_weights()[0]) ** 2) + np.mean(X**2) + 0.1 * np.sum(kernel.get_weights()[0] ** 2)
    assert model.evaluate(X, y, batch_size=50, verbose=0) == pytest.approx(expected, rel=1e-5)
    assert len(model.losses) == 2
    model(X)
    model(X)
    assert len(model.losses) == 2


def test_a_torch_optimizer_learns():
    model = classifier()
    model.compile(torch.optim.SGD(model.parameters(), lr=0.1), "sparse_categorical_crossentropy")
    losses = model.fit(X, Y, epochs=10, verbose=0).history["loss"]
    assert losses[-1] < losses[0]


def test_mixed_precision_trains():
    model = triarch.Sequential(
        [layers.Input((4,)), layers.Dense(8, "relu", dtype="mixed_bfloat16"), layers.Dense(2, dtype="mixed_bfloat16")]
    )
    loss = triarch.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(triarch.optimizers.Adam(0.01), loss)
    losses = model.fit(X, Y, epochs=20, verbose=0).history["loss"]
    assert model.weights[0].dtype == torch.float32
    assert losses[-1] < losses[0]
    assert model.predict(X, verbose=0).dtype == np.float32


@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs the C++ compiler g++")
def test_torch_compile_gives_the_same_training():
    model, other = classifier(jit_compile=True), classifier()
    mine = model.fit(X, Y, batch_size=25, epochs=2, shuffle=False, verbose=0).history["loss"]
    theirs = other.fit(X, Y, batch_size=25, epochs=2, shuffle=False, verbose=0).history["loss"]
    assert mine == pytest.approx(theirs, rel=1e-5)


NAN = X.copy()
NAN[3, 2] = np.nan

BAD_DATA = {
    "mismatched lengths": (lambda m: m.fit(X, Y[:-1], verbose=0), "equally many samples.*'x': 50.*'y': 49"),
    "empty arrays": (lambda m: m.fit(X[:0], Y[:0], verbose=0), "no samples"),
    "nan in x": (lambda m: m.fit(NAN, Y, verbose=0), r"x holds 1 NaN.*\(3, 2\)"),
    "nan in evaluation": (lambda m: m.evaluate(NAN, Y, verbose=0), r"x holds 1 NaN"),
    "nan out of a generator": (lambda m: m.fit(iter([(NAN, Y)]), verbose=0), "x holds 1 NaN"),
    "label too large": (lambda m: m.fit(X, Y + 1, verbose=0), r"Class numbers must lie in \[0, 2\).*Received: 2"),
    "label negative": (lambda m: m.fit(X, Y - 1, verbose=0), r"Class numbers must lie in \[0, 2\).*Received: -1"),
    "wrong shape": (lambda m: m.fit(X[:, :3], Y, verbose=0), r"(?s)\(None, 4\).*Received"),
    "text": (lambda m: m.fit(np.array(["a", "b"]), Y[:2], verbose=0), "must be numbers"),
    "ragged": (lambda m: m.fit(np.array([[1], [2, 3]], dtype=object), Y[:2], verbose=0), "must be numbers"),
    "no targets": (lambda m: m.fit(X, verbose=0), "needs targets"),
    "y beside a generator": (lambda m: m.fit(generator(), Y, verbose=0), "must come out of it"),
    "split of a generator": (lambda m: m.fit(generator(), validation_split=0.5, verbose=0), "validation_split needs"),
    "split leaves nothing": (lambda m: m.fit(X, Y, validation_split=0.999, verbose=0), "leaves no sample"),
    "used-up generator": (lambda m: m.fit(iter(()), verbose=0), "no batch"),
    "batch size 0": (lambda m: m.fit(X, Y, batch_size=0, verbose=0), "batch_size"),
    "verbose": (lambda m: m.fit(X, Y, verbose=3), "verbose"),
    "unknown loss": (lambda m: m.compile("adam", "mean_sqared_error"), "mean_squared_error"),
    "unknown optimizer": (lambda m: m.compile("adamm"), "Did you mean 'adam'"),
    "unknown metric": (lambda m: m.compile("adam", "mse", metrics=["acuracy"]), "Unknown metric"),
    "loss for an output that is not there": (
        lambda m: (m.compile("adam", {"nowhere": "mse"}), m.fit(X, Y, verbose=0)),
        "does not have",
    ),
    "too many losses": (lambda m: (m.compile("adam", ["mse", "mse"]), m.fit(X, Y, verbose=0)), "an entry for each"),
    "no loss": (lambda m: (m.compile("adam"), m.fit(X, Y, verbose=0)), "no loss to compute"),
    "class and sample weight": (
        lambda m: m.fit(X, Y, class_weight={0: 1.0}, sample_weight=np.ones(50), verbose=0),
        "not both",
    ),
    "metrics in the place of loss weights": (lambda m: m.compile("adam", "mse", ["accuracy"]), "loss_weights must be"),
    "validation data without targets": (lambda m: m.fit(X, Y, validation_data=X, verbose=0), "validation_data must be"),
    "loss in NumPy": (
        lambda m: (m.compile("adam", lambda y, p: np.abs(p.detach().numpy()).mean()), m.fit(X, Y, verbose=0)),
        "NumPy's give no gradient",
    ),
    "batch size 3.5": (lambda m: m.fit(X, Y, batch_size=3.5, verbose=0), r"batch_size.*3\.5"),
    "labels between classes": (lambda m: m.fit(X, Y + 0.5, verbose=0), r"Class numbers are integers.*\.5"),
    "infinite targets": (lambda m: m.fit(X, np.full(50, np.inf), verbose=0), "y holds 50 NaN or infinite"),
    "negative learning rate": (lambda m: m.compile(triarch.optimizers.SGD(-1.0)), "must not be negative"),
    "no data": (lambda m: m.fit(verbose=0), "no data"),
    "empty lists": (lambda m: m.fit([], [], verbose=0), "no samples"),
    "a number": (lambda m: m.fit(np.float32(1), Y, verbose=0), "need a first axis.*x"),
    "no optimizer": (
        lambda m: (m.compile(None, "sparse_categorical_crossentropy"), m.fit(X, Y, verbose=0)),
        "needs an optimizer",
    ),
    "float16 without a loss scale": (
        lambda m: (setattr(m.layers[0], "dtype_policy", "mixed_float16"), m.compile()),
        "loss_scale_factor",
    ),
    "four parts": (lambda m: m.fit(iter([(X, Y, Y, Y)]), verbose=0), "4 parts"),
}


@pytest.mark.parametrize("name", BAD_DATA)
def test_bad_input_is_a_clear_error_and_changes_nothing(name):
    action, message = BAD_DATA[name]
    model = classifier()
    before = model.get_weights()
    with pytest.raises(ValueError, match=message):
        action(model)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("method", ["fit", "evaluate", "train_on_batch", "test_on_batch"])
def test_a_model_that_is_not_compiled_is_refused(method):
    model = triarch.Sequential([layers.Dense(2)])
    with pytest.raises(ValueError, match=r"model\.compile"):
        getattr(model, method)(X, Y)


def test_a_model_without_weights_is_refused():
    model = triarch.Sequential([layers.Input((4,)), layers.Activation("relu")])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="no trainable weights"):
        model.fit(X, X, verbose=0)


def test_data_that_run_out_are_reported():
    with pytest.warns(UserWarning, match="ran out after 5 of 7 steps"):
        classifier().fit(generator(), steps_per_epoch=7, epochs=2, verbose=0)


@pytest.mark.parametrize("way", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_made_after_fit_trains_itself(way):
    model = classifier()
    model.fit(X, Y, verbose=0)
    before = model.get_weights()
    twin = way(model)
    losses = twin.fit(X, Y, epochs=3, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    for old, kept, moved in zip(before, model.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_array_equal(old, kept)
        assert not np.array_equal(old, moved)


def test_torch_losses_take_predictions_first():
    model, other = classifier(loss=torch.nn.CrossEntropyLoss()), classifier()
    model.layers[-1].activation = other.layers[-1].activation = triarch.activations.linear
    other.compile("adam", triarch.losses.SparseCategoricalCrossentropy(from_logits=True))
    mine = model.fit(X, Y, shuffle=False, verbose=0).history["loss"]
    assert mine == pytest.approx(other.fit(X, Y, shuffle=False, verbose=0).history["loss"])
    with pytest.raises(ValueError, match="reduction='none'"):
        model.fit(X, Y, class_weight={0: 2.0}, verbose=0)
    binary = triarch.Sequential([layers.Input((4,)), layers.Dense(1)])
    binary.compile("adam", torch.nn.BCEWithLogitsLoss())
    binary.evaluate(X, Y[:, None], verbose=0)
