"""Data as people have them, in every place that takes data: the numbers of the plain float32 array, or a clear word."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch

import triarch
from triarch import layers, losses, optimizers

RNG = np.random.default_rng(0)
NATIVE_TYPES = ["bool", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8", "longdouble"]
TYPES = [*NATIVE_TYPES, ">u2", ">i4", ">i8", ">f4", ">f8"]

# name -> first layer, shape of a sample
FIRST_LAYERS = {
    "Dense": (lambda: layers.Dense(2), (5,)),
    "Conv1D": (lambda: layers.Conv1D(2, 2), (6, 3)),
    "Conv2D": (lambda: layers.Conv2D(2, 2), (5, 5, 2)),
    "Conv3D": (lambda: layers.Conv3D(2, 2), (3, 3, 3, 2)),
    "DepthwiseConv2D": (lambda: layers.DepthwiseConv2D(2), (5, 5, 2)),
    "SeparableConv1D": (lambda: layers.SeparableConv1D(2, 2), (6, 3)),
    "Conv2DTranspose": (lambda: layers.Conv2DTranspose(2, 2), (4, 4, 2)),
    "SimpleRNN": (lambda: layers.SimpleRNN(2), (4, 3)),
    "LSTM": (lambda: layers.LSTM(2), (4, 3)),
    "GRU": (lambda: layers.GRU(2), (4, 3)),
    "RNN": (lambda: layers.RNN(layers.GRUCell(2)), (4, 3)),
    "Bidirectional": (lambda: layers.Bidirectional(layers.LSTM(2)), (4, 3)),
    "TimeDistributed": (lambda: layers.TimeDistributed(layers.Dense(2)), (4, 3)),
    "ConvLSTM1D": (lambda: layers.ConvLSTM1D(2, 2), (3, 4, 2)),
    "MaxPooling1D": (lambda: layers.MaxPooling1D(2), (6, 3)),
    "MaxPooling2D": (lambda: layers.MaxPooling2D(2), (4, 4, 2)),
    "AveragePooling1D": (lambda: layers.AveragePooling1D(2), (6, 3)),
    "AveragePooling2D": (lambda: layers.AveragePooling2D(2), (4, 4, 2)),
    "GlobalAveragePooling1D": (lambda: layers.GlobalAveragePooling1D(), (6, 3)),
    "GlobalMaxPooling2D": (lambda: layers.GlobalMaxPooling2D(), (4, 4, 2)),
    "BatchNormalization": (lambda: layers.BatchNormalization(), (5,)),
    "LayerNormalization": (lambda: layers.LayerNormalization(), (5,)),
    "GroupNormalization": (lambda: layers.GroupNormalization(2), (3, 4)),
    "UnitNormalization": (lambda: layers.UnitNormalization(), (5,)),
    "Normalization": (lambda: layers.Normalization(mean=1.0, variance=2.0), (5,)),
    "Flatten": (lambda: layers.Flatten(), (3, 2)),
    "Reshape": (lambda: layers.Reshape((6,)), (3, 2)),
    "Permute": (lambda: layers.Permute((2, 1)), (3, 2)),
    "RepeatVector": (lambda: layers.RepeatVector(2), (5,)),
    "Embedding": (lambda: layers.Embedding(4, 2), (5,)),
    "Masking": (lambda: layers.Masking(), (4, 3)),
    "Activation": (lambda: layers.Activation("tanh"), (5,)),
    "ReLU": (lambda: layers.ReLU(), (5,)),
    "LeakyReLU": (lambda: layers.LeakyReLU(), (5,)),
    "PReLU": (lambda: layers.PReLU(), (5,)),
    "ELU": (lambda: layers.ELU(), (5,)),
    "Softmax": (lambda: layers.Softmax(), (5,)),
    "Dropout": (lambda: layers.Dropout(0.5), (5,)),
    "SpatialDropout1D": (lambda: layers.SpatialDropout1D(0.5), (4, 3)),
    "GaussianNoise": (lambda: layers.GaussianNoise(0.5), (5,)),
    "ZeroPadding2D": (lambda: layers.ZeroPadding2D(1), (4, 4, 2)),
    "Cropping1D": (lambda: layers.Cropping1D(1), (4, 3)),
    "UpSampling2D": (lambda: layers.UpSampling2D(2, interpolation="bilinear"), (3, 3, 2)),
    "Rescaling": (lambda: layers.Rescaling(1 / 255), (5,)),
    "CenterCrop": (lambda: layers.CenterCrop(2, 2), (4, 4, 2)),
    "SpectralNormalization": (lambda: layers.SpectralNormalization(layers.Dense(2)), (5,)),
}


class Wrapped(triarch.Model):
    """A model that hands its inputs on as they come."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def call(self, inputs):
        return self.layer(inputs)


def declared(layer, shape):
    return triarch.Sequential([layers.Input(shape), layer])


USES = {
    "declared": lambda make, shape, x: declared(make(), shape).predict(x, verbose=0),
    "not declared": lambda make, shape, x: triarch.Sequential([make()]).predict(x, verbose=0),
    "in a model of one's own": lambda make, shape, x: Wrapped(make()).predict(x, verbose=0),
    "on a batch": lambda make, shape, x: Wrapped(make()).predict_on_batch(x),
    "called": lambda make, shape, x: declared(make(), shape)(x).detach().numpy(),
    "the layer alone": lambda make, shape, x: make()(x).detach().numpy(),
}


@pytest.mark.parametrize("name", FIRST_LAYERS)
def test_first_layers_take_numbers_of_every_type(name):
    make, shape = FIRST_LAYERS[name]
    numbers = RNG.integers(0, 2, (3, *shape))

    def found(use, x):
        triarch.utils.set_random_seed(0)
        return USES[use](make, shape, x)

    for use in USES:
        right = found(use, numbers.astype("f4"))
        for dtype in TYPES:
            outputs = found(use, numbers.astype(dtype))
            np.testing.assert_allclose(outputs, right, rtol=1e-5, atol=1e-6, err_msg=f"{dtype}, {use}")
    triarch.utils.set_random_seed(0)
    layer = make()
    for dtype in ("bool", "u1", "i8"):
        layer(torch.from_numpy(numbers.astype(dtype)), training=True)


# Arrays, tensors and tables in the place of the plain array.

MANY = RNG.integers(0, 200, (12, 4))


def memory_map(numbers: Any, path: Path) -> Any:
    numbers.astype("f4").tofile(path)
    return np.memmap(path, "f4", "r", shape=numbers.shape)


def locked(numbers: Any) -> Any:
    found = numbers.astype("f4")
    found.flags.writeable = False
    return found


def field(numbers: Any) -> Any:
    """A field of records, whose strides are no multiple of its size."""
    records = np.zeros(numbers.shape[0], [("mark", "u1"), ("value", "f4", numbers.shape[1:])])
    records["value"] = numbers
    return records["value"]


FORMS = {
    **{dtype: lambda n, path, dtype=dtype: n.astype(dtype) for dtype in TYPES if dtype not in ("bool", "i1")},
    "flipped": lambda n, path: n[::-1].astype("f4")[::-1],
    "mirrored": lambda n, path: n[..., ::-1].astype("f8").copy()[..., ::-1],
    "every second": lambda n, path: np.repeat(n.astype("f4"), 2, axis=0)[::2],
    "Fortran": lambda n, path: np.asfortranarray(n.astype("f4")),
    "field of records": lambda n, path: field(n),
    "read-only": lambda n, path: locked(n),
    "memory map": memory_map,
    "matrix": lambda n, path: np.asmatrix(n.astype("f4")) if n.ndim == 2 else n.astype("f4"),
    "masked array that hides nothing": lambda n, path: np.ma.masked_array(n.astype("f4"), n < 0),
    "list": lambda n, path: n.tolist(),
    "list of lists of NumPy's numbers": lambda n, path: [list(row) for row in n.astype("f4").reshape(len(n), -1)],
    "tuple": lambda n, path: tuple(map(tuple, n.reshape(len(n), -1).tolist())),
    "tensor": lambda n, path: torch.tensor(n),
    "tensor of double": lambda n, path: torch.tensor(n, dtype=torch.float64),
    "tensor of bfloat16": lambda n, path: torch.tensor(n, dtype=torch.bfloat16),
    "tensor of uint16": lambda n, path: torch.tensor(n).to(torch.uint16),
    "tensor of uint64": lambda n, path: torch.tensor(n).to(torch.uint64),
    "tensor that wants gradients": lambda n, path: torch.tensor(n, dtype=torch.float32, requires_grad=True),
    "sparse tensor": lambda n, path: torch.tensor(n, dtype=torch.float32).to_sparse(),
    "sparse matrix": lambda n, path: scipy.sparse.csr_matrix(n.reshape(len(n), -1).astype("f4")),
    "sparse array": lambda n, path: scipy.sparse.coo_array(n.reshape(len(n), -1).astype("f4")),
    "frame": lambda n, path: pd.DataFrame(n.reshape(len(n), -1).astype("f4"), index=range(50, 50 + len(n))),
    "frame of integers": lambda n, path: pd.DataFrame(n.reshape(len(n), -1)),
    "frame of several types": lambda n, path: mixed(pd.DataFrame(n.reshape(len(n), -1))),
    "frame that may lack numbers": lambda n, path: pd.DataFrame(n.reshape(len(n), -1)).astype("Float64"),
}


def mixed(frame: Any) -> Any:
    return frame.astype({frame.columns[0]: "f8"}).astype({frame.columns[-1]: "Int64"})


def regression():
    triarch.utils.set_random_seed(0)
    model = triarch.Sequential([layers.Input((4,)), layers.Rescaling(1 / 200), layers.Dense(1)])
    model.compile(optimizers.SGD(0.05), "mse", metrics=["mae"], weighted_metrics=["mse"])
    return model


def everything(x: Any, y: Any, weights: Any) -> list[Any]:
    """What all places that take data make of them."""
    model = regression()
    found = [model.predict(x, batch_size=5, verbose=0), model.predict_on_batch(x)]
    callable_on = np.array(x) if isinstance(x, (list, tuple)) else x.to_dense() if torch.is_tensor(x) else x
    found.append(model(callable_on).detach())
    found.append(model.evaluate(x, y, sample_weight=weights, batch_size=5, verbose=0))
    found += [model.train_on_batch(x, y, weights), model.test_on_batch(x, y, weights)]
    history = model.fit(
        x, y, sample_weight=weights, validation_data=(x, y, weights), batch_size=5, epochs=2, shuffle=False, verbose=0
    )
    found += [*history.history.values(), *model.get_weights()]
    if not isinstance(x, (list, tuple)):  # lists in lists are one array
        model.fit([x], [y], verbose=0)
        model.fit((x,), y, validation_split=0.25, verbose=0)
    model.fit({"only": x}, y, verbose=0)
    return found


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_numbers_of_the_plain_array(form, tmp_path):
    x, y, weights = MANY, MANY[:, :1] % 7, MANY[:, 1] % 5
    right = everything(x.astype("f4"), y.astype("f4"), weights.astype("f4"))
    made = FORMS[form]
    is_flat = form not in ("sparse tensor", "sparse matrix", "sparse array") and "frame" not in form
    given = made(x, tmp_path / "x"), made(y, tmp_path / "y"), made(weights, tmp_path / "w") if is_flat else weights
    found = everything(*given)
    tolerance = 1e-2 if form in ("f2", "tensor of bfloat16") else 1e-5
    for value, wanted in zip(found, right, strict=True):
        np.testing.assert_allclose(value, wanted, rtol=tolerance, atol=tolerance)
    if torch.is_tensor(given[0]) and given[0].requires_grad:
        assert given[0].grad is None


def test_columns_of_a_frame_are_inputs_targets_and_weights():
    frame = pd.DataFrame(MANY.astype("f4"), columns=list("abcd"), index=range(7, 19)).sample(frac=1, random_state=0)
    inputs = {name: triarch.Input((1,), name=name) for name in "ab"}
    model = triarch.Model(inputs, layers.Dense(1)(layers.Concatenate()([inputs["a"], inputs["b"]])))
    model.compile(optimizers.SGD(0.0), "mae")
    found = model.predict({name: frame[name] for name in "ab"}, verbose=0)
    plain = {name: frame[name].to_numpy()[:, None] for name in "ab"}
    np.testing.assert_allclose(found, model.predict(plain, verbose=0), rtol=1e-6)
    loss = model.evaluate(dict(frame[["a", "b"]]), frame["c"], sample_weight=frame["d"], verbose=0)
    expected = np.mean(np.abs(found[:, 0] - frame["c"].to_numpy()) * frame["d"].to_numpy())
    assert loss == pytest.approx(expected, rel=1e-5)


LARGE = np.full((2, 4), 2**63 + 2**40, "u8")
NUMBERS = np.ones((6, 4), "f4")
REFUSED = {
    "hidden numbers": (np.ma.masked_array(NUMBERS, NUMBERS > 0), "is a masked array that hides numbers"),
    "complex": (NUMBERS.astype("c8"), "complex numbers"),
    "complex tensor": (torch.ones(6, 4, dtype=torch.complex64), "complex numbers"),
    "text": (np.array([["a", "b"]] * 6), "type <U1: text"),
    "list of text": (["a", "b", "c", "d", "e", "f"], "text"),
    "rows of unequal length": ([[1.0, 2.0], [3.0]], r"rows of unequal length.*\[1, 2\]"),
    "objects": (np.array([[1, None]] * 6, dtype=object), "type object"),
    "dates": (np.array(["2020-01-01"] * 6, "M8[D]"), "dates"),
    "records": (np.zeros(6, [("a", "f4")]), "records"),
    "frame of text": (pd.DataFrame({"a": [1.0] * 6, "b": ["x"] * 6}), r"no numbers.*\{'b':"),
    "frame of categories": (pd.DataFrame({"a": pd.Categorical(["x"] * 6)}), "no numbers.*category"),
    "too large": (np.full((6, 4), 1e300), r"too large for float32.*24 such numbers, the first 1e\+300"),
    "tensor too large": (torch.full((6, 4), 1e300, dtype=torch.float64), "too large for float32"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_number_is_refused_by_its_argument(name):
    data, message = REFUSED[name]
    y = np.ones((len(data), 1), "f4")
    before = regression().get_weights()
    model = regression()
    uses = {
        "x": [
            lambda: model.fit(data, y, verbose=0),
            lambda: model.fit(iter([(data, y)]), verbose=0),
            lambda: model.evaluate(data, y, verbose=0),
            lambda: model.predict(data, verbose=0),
            lambda: model.train_on_batch(data, y),
            lambda: model.predict_on_batch(data),
        ],
        "y": [
            lambda: model.fit(NUMBERS[: len(data)], data, verbose=0),
            lambda: model.test_on_batch(NUMBERS[: len(data)], data),
        ],
        "sample_weight": [lambda: model.fit(NUMBERS[: len(data)], y, sample_weight=data, verbose=0)],
        "validation_data: x": [lambda: model.fit(NUMBERS, NUMBERS[:, :1], validation_data=(data, y), verbose=0)],
    }
    for argument, actions in uses.items():
        for action in actions:
            with pytest.raises(ValueError, match=rf"(?s)^{argument}\b.*{message}"):
                action()
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_whole_numbers_beyond_a_type_are_kept_or_refused():
    model = triarch.Sequential([layers.Input((4,)), layers.Rescaling(2.0**-40)])
    np.testing.assert_allclose(model.predict(LARGE, verbose=0), LARGE.astype("f8") * 2.0**-40, rtol=1e-6)
    bytes_only = triarch.Sequential([layers.Input((2,), dtype="uint8", name="bytes"), layers.Embedding(256, 2)])
    assert bytes_only.predict(np.array([[0, 255]]), verbose=0).shape == (1, 2, 2)
    for wrong in ([[0, 256]], [[-1, 0]], [[0.5, 1.0]], [[np.inf, 0.0]]):
        with pytest.raises(ValueError, match=r"input 'bytes' of type uint8, which cannot hold these numbers. Received"):
            bytes_only(np.array(wrong))
    with pytest.raises(ValueError, match=r"cannot hold these numbers\. Received: complex64"):
        model(np.ones((1, 4), "c8"))


# Streams.


class Stream(torch.utils.data.IterableDataset):
    """Samples without a length."""

    def __init__(self, error=None, size=10):
        self.error, self.size = error, size

    def __iter__(self):
        return ((np.float32([n]), np.float32([2 * n])) for n in range(self.size))


class StreamWithALength(Stream):
    def __len__(self):
        if self.error is not None:
            raise self.error
        return self.size


class Batches(triarch.utils.PyDataset):
    """Batches of these sizes, other ones after each epoch."""

    def __init__(self, *sizes, **options):
        super().__init__(**options)
        self.sizes = list(sizes)

    def __len__(self):
        return np.int64(len(self.sizes))

    def __getitem__(self, index):
        start = sum(self.sizes[:index])
        numbers = np.arange(start, start + self.sizes[index], dtype="float32")[:, None]
        return numbers, 2 * numbers


class Growing(Batches):
    def on_epoch_end(self):
        self.sizes = self.sizes[:1] * (len(self.sizes) + 1)


def batched(*sizes, container=tuple):
    numbers = np.split(np.arange(sum(sizes), dtype="float32")[:, None], np.cumsum(sizes)[:-1])
    return [container((x, 2 * x)) for x in numbers]


class Endless:
    """Goes through the batches again and again, without a length."""

    def __iter__(self):
        while True:
            yield from batched(4, 4, 2)


def loader(dataset, **options):
    return torch.utils.data.DataLoader(dataset, **options)


STREAMS = {
    "loader of a stream": lambda: loader(Stream(), batch_size=4),
    "loader of a stream of batches": lambda: loader(batched(4, 4, 2), batch_size=None),
    "loader of a stream with a length": lambda: loader(StreamWithALength(), batch_size=4),
    "loader of a stream whose length raises TypeError": lambda: loader(StreamWithALength(TypeError()), batch_size=4),
    "loader of a stream whose length is not implemented": lambda: loader(
        StreamWithALength(NotImplementedError()), batch_size=3
    ),
    "loader of arrays": lambda: loader(
        torch.utils.data.TensorDataset(torch.arange(10.0)[:, None], 2 * torch.arange(10.0)[:, None]), batch_size=3
    ),
    "generator": lambda: iter(batched(4, 4, 2)),
    "generator of lists": lambda: iter(batched(1, 4, 5, container=list)),
    "data set": lambda: Batches(4, 4, 2),
    "data set with workers": lambda: Batches(3, 3, 4, workers=2),
    "first batch empty": lambda: iter(batched(0, 4, 6)),
    "last batch empty": lambda: iter(batched(4, 6, 0)),
    "empty batches between": lambda: Batches(4, 0, 0, 6, 0),
}


@pytest.mark.parametrize("name", STREAMS)
def test_streams_count_every_sample_once(name):
    make = STREAMS[name]
    x = np.arange(10.0)
    right = np.mean(x**2)  # predictions n, targets 2 n

    def doubling(rate=0.0, **options):
        single = layers.Dense(1, use_bias=False, kernel_initializer="ones")
        model = triarch.Sequential([layers.Input((1,)), single])
        model.compile(optimizers.SGD(rate), "mse", metrics=["mae"], **options)
        return model

    history = doubling().fit(make(), validation_data=make(), verbose=0).history
    for prefix in ("", "val_"):
        assert history[prefix + "loss"] == pytest.approx([right])
        assert history[prefix + "mae"] == pytest.approx([x.mean()])
    assert doubling().evaluate(make(), verbose=0) == pytest.approx([right, x.mean()])
    np.testing.assert_allclose(doubling().predict(make(), verbose=0)[:, 0], x)
    assert doubling(steps_per_execution=2).evaluate(make(), verbose=0) == pytest.approx([right, x.mean()])
    learnt, plain = doubling(1e-3), doubling(1e-3)
    learnt.fit(make(), verbose=0)
    for part, target in make():
        if len(part):
            plain.train_on_batch(part, target)
    np.testing.assert_allclose(learnt.get_weights()[0], plain.get_weights()[0], rtol=1e-6)
    assert learnt.optimizer.iterations == plain.optimizer.iterations
    if not name.startswith(("generator", "first", "last")):
        twice = doubling().fit(stream := make(), epochs=2, validation_data=stream, verbose=0).history
        assert twice["loss"] == twice["val_loss"] == pytest.approx([right] * 2)


def test_epochs_of_unequal_length():
    growing = Growing(4)
    steps = []
    counting = triarch.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: steps.append(batch))
    model = triarch.Sequential([layers.Input((1,)), layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(growing, epochs=3, callbacks=[counting], verbose=0)
    assert steps == [0, 0, 1, 0, 1, 2]
    history = model.fit(Endless(), epochs=2, steps_per_epoch=4, verbose=0)
    assert len(history.history["loss"]) == 2


NOTHING = (np.zeros((0, 4), "f4"), np.zeros((0, 1), "f4"))
EMPTY = {
    "fit": lambda m: m.fit(*NOTHING, verbose=0),
    "fit of a stream": lambda m: m.fit(iter([NOTHING, NOTHING]), verbose=0),
    "evaluate": lambda m: m.evaluate(iter([NOTHING]), verbose=0),
    "predict": lambda m: m.predict(iter([NOTHING[0]]), verbose=0),
    "train_on_batch": lambda m: m.train_on_batch(*NOTHING),
    "test_on_batch": lambda m: m.test_on_batch(*NOTHING),
    "validation": lambda m: m.fit(NUMBERS, NUMBERS[:, :1], validation_data=NOTHING, verbose=0),
    "validation of a stream": lambda m: m.fit(NUMBERS, NUMBERS[:, :1], validation_data=iter([NOTHING]), verbose=0),
}


@pytest.mark.parametrize("name", EMPTY)
def test_data_without_any_sample_are_refused(name):
    with pytest.raises(ValueError, match=r"no samples|with samples in it: they are empty"):
        EMPTY[name](regression())


def test_predictions_of_no_samples_are_no_predictions():
    assert regression().predict_on_batch(NOTHING[0]).shape == (0, 1)
    assert regression()(NOTHING[0]).shape == (0, 1)


# Settings.


def of_numpy(value: Any) -> Any:
    kinds = {bool: np.bool_, int: np.int64, float: np.float32, str: np.str_}
    if isinstance(value, (list, tuple)):
        return type(value)(map(of_numpy, value))
    return kinds[type(value)](value) if type(value) in kinds else value


def without_axes(value: Any) -> Any:
    return np.array(value) if type(value) in (int, float) else value


def as_tensors(value: Any) -> Any:
    return torch.tensor(value) if type(value) in (int, float) else value


KINDS_OF_SETTINGS = {"NumPy": of_numpy, "arrays": without_axes, "tensors": as_tensors}

CONSTRUCTED = [
    (layers.Dense, {"units": 2, "activation": "relu", "use_bias": False}),
    (layers.Conv2D, {"filters": 2, "kernel_size": (2, 2), "strides": (1, 1), "padding": "same", "groups": 1}),
    (layers.Conv1DTranspose, {"filters": 2, "kernel_size": 2, "strides": 2}),
    (layers.LSTM, {"units": 2, "dropout": 0.5, "return_sequences": True}),
    (layers.ConvLSTM2D, {"filters": 2, "kernel_size": 2}),
    (layers.MaxPooling2D, {"pool_size": 2, "strides": 1}),
    (layers.BatchNormalization, {"axis": -1, "momentum": 0.5, "epsilon": 0.25}),
    (layers.GroupNormalization, {"groups": 2}),
    (layers.Embedding, {"input_dim": 10, "output_dim": 2, "mask_zero": True}),
    (layers.Dropout, {"rate": 0.5, "seed": 1}),
    (layers.ReLU, {"max_value": 6.0, "negative_slope": 0.25}),
    (layers.Reshape, {"target_shape": (2, 3)}),
    (layers.RepeatVector, {"n": 3}),
    (layers.ZeroPadding2D, {"padding": 1}),
    (layers.Resizing, {"height": 3, "width": 3}),
    (layers.RandomRotation, {"factor": 0.25, "seed": 1}),
    (layers.RandomContrast, {"factor": 0.25}),
    (layers.TextVectorization, {"max_tokens": 10, "ngrams": 2}),
    (layers.Concatenate, {"axis": -1}),
    (layers.ActivityRegularization, {"l1": 0.5}),
    (layers.InputLayer, {"shape": (3, 4), "batch_size": 2}),
    (optimizers.Adam, {"learning_rate": 0.5, "beta_1": 0.25, "gradient_accumulation_steps": 2, "clipnorm": 1.0}),
    (optimizers.SGD, {"momentum": 0.5, "nesterov": True, "use_ema": True, "ema_overwrite_frequency": 3}),
    (optimizers.schedules.PiecewiseConstantDecay, {"boundaries": [1, 2], "values": [0.5, 0.25, 0.125]}),
    (optimizers.schedules.CosineDecay, {"initial_learning_rate": 0.5, "decay_steps": 10, "alpha": 0.25}),
    (losses.Huber, {"delta": 1.5}),
    (losses.SparseCategoricalCrossentropy, {"from_logits": True, "ignore_class": 1}),
    (triarch.metrics.AUC, {"num_thresholds": 10, "multi_label": True, "num_labels": 2}),
    (triarch.metrics.F1Score, {"threshold": 0.5}),
    (triarch.metrics.Precision, {"thresholds": 0.5, "top_k": 2}),
    (triarch.initializers.RandomNormal, {"mean": 0.5, "stddev": 0.25, "seed": 3}),
    (triarch.regularizers.L1L2, {"l1": 0.5, "l2": 0.25}),
    (triarch.constraints.MaxNorm, {"max_value": 2, "axis": 0}),
]


@pytest.mark.parametrize("kind", KINDS_OF_SETTINGS)
@pytest.mark.parametrize(("cls", "settings"), CONSTRUCTED, ids=lambda value: getattr(value, "__name__", ""))
def test_settings_are_pythons_and_go_into_files(cls, settings, kind):
    given = {name: KINDS_OF_SETTINGS[kind](value) for name, value in settings.items()}

    def written(made):
        described = json.loads(json.dumps(triarch.saving.serialize_keras_object(made)))
        described["config"].pop("name", None)
        return described

    made, plain = written(cls(**given)), written(cls(**settings))
    assert made == plain
    assert written(triarch.saving.deserialize_keras_object(made)) == plain


@pytest.mark.parametrize("kind", KINDS_OF_SETTINGS)
def test_settings_of_loops(kind, tmp_path):
    convert = KINDS_OF_SETTINGS[kind]
    model = triarch.Sequential([layers.Input((convert(4),)), layers.Dense(convert(1))])
    model.compile(optimizers.SGD(convert(0.5)), "mse", loss_weights=[convert(2.0)], steps_per_execution=convert(2))
    options = {"batch_size": 2, "epochs": 2, "verbose": 0, "initial_epoch": 1, "steps_per_epoch": 2}
    options |= {"validation_steps": 1, "validation_batch_size": 2, "validation_freq": 1}
    options = {name: convert(value) for name, value in options.items()}
    data = (NUMBERS, NUMBERS[:, :1])
    history = model.fit(*data, validation_data=data, shuffle=np.bool_(True), **options)
    assert len(history.history["val_loss"]) == 1
    model.fit(*data, validation_split=convert(0.5), verbose=convert(0))
    model.evaluate(*data, batch_size=convert(3), steps=convert(2), verbose=convert(0))
    assert len(model.predict(NUMBERS, batch_size=convert(3), steps=convert(1), verbose=convert(0))) == 3
    model.save(tmp_path / "model.keras")
    triarch.saving.load_model(tmp_path / "model.keras")


def test_numpys_true_shuffles():
    order = []

    class Seen(triarch.Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(1)

        def call(self, inputs):
            order.append(inputs[:, 0].tolist())
            return self.dense(inputs)

    x = np.arange(64, dtype="f4")[:, None]
    model = Seen()
    model.compile("sgd", "mse")
    model.fit(x, x, batch_size=64, shuffle=np.bool_(True), verbose=0)
    assert order[-1] != x[:, 0].tolist()
    assert sorted(order[-1]) == x[:, 0].tolist()


@pytest.mark.parametrize("dtype", [float, np.float64, np.float32])
def test_shares_that_are_whole_in_decimals(dtype):
    for size in (10, 50, 100):
        for share in range(1, 20):
            if size * share % 20:
                continue
            model = triarch.Sequential([layers.Input((1,)), layers.Dense(1)])
            model.compile("sgd", "mse")
            steps = {"train": 0, "test": 0}
            counting = triarch.callbacks.LambdaCallback(
                on_train_batch_end=lambda batch, logs, steps=steps: steps.update(train=batch + 1),
                on_test_batch_end=lambda batch, logs, steps=steps: steps.update(test=batch + 1),
            )
            x = np.ones((size, 1), "f4")
            model.fit(x, x, batch_size=1, validation_split=dtype(share / 20), callbacks=[counting], verbose=0)
            assert steps == {"train": size - size * share // 20, "test": size * share // 20}, (size, share)


# Messages.


def two_inputs():
    a, b = triarch.Input((4,), name="a"), triarch.Input((2,), name="b")
    model = triarch.Model([a, b], layers.Dense(1, name="out")(layers.Concatenate()([a, b])))
    model.compile("sgd", "mse")
    return model


TARGETS = NUMBERS[:, :1]
MESSAGES = {
    "dict for a Sequential": (
        lambda m: m.fit({"a": NUMBERS, "b": NUMBERS}, TARGETS, verbose=0),
        r"takes one array or tensor.*Received: a dict with the keys \['a', 'b'\]",
    ),
    "list for a Sequential": (lambda m: m.predict([NUMBERS, NUMBERS], verbose=0), "Received: 2 inputs in a list"),
    "samples in a list": (lambda m: m.fit(list(NUMBERS), TARGETS, verbose=0), r"`np.stack\(x\)` makes one of them"),
    "lists to a layer": (lambda m: m([[1.0, 2.0]]), r"make one by `np.array`. Received: \[\[1.0, 2.0\]\] of type list"),
    "steps of 2.0": (
        lambda m: m.fit(NUMBERS, TARGETS, steps_per_epoch=2.0, verbose=0),
        r"steps_per_epoch must be None or a positive whole number.*int\(steps_per_epoch\).*Received.*=2.0",
    ),
    "no steps": (lambda m: m.fit(NUMBERS, TARGETS, steps_per_epoch=0, verbose=0), "positive whole number.*=0"),
    "steps of evaluate": (lambda m: m.evaluate(NUMBERS, TARGETS, steps=-1, verbose=0), "steps must be.*steps=-1"),
    "batch size in words": (lambda m: m.predict(NUMBERS, batch_size="32", verbose=0), "batch_size must be.*='32'"),
    "negative batch size": (lambda m: m.predict(NUMBERS, batch_size=-1, verbose=0), "positive whole number.*=-1"),
    "epochs of 2.0": (lambda m: m.fit(NUMBERS, TARGETS, epochs=2.0, verbose=0), "epochs must be a whole number.*=2.0"),
    "negative epochs": (lambda m: m.fit(NUMBERS, TARGETS, epochs=-1, verbose=0), "epochs must be a whole number.*=-1"),
    "split above 1": (
        lambda m: m.fit(NUMBERS, TARGETS, validation_split=1.5, verbose=0),
        "validation_split must be a number between 0 and 1.*=1.5",
    ),
    "negative split": (lambda m: m.fit(NUMBERS, TARGETS, validation_split=-0.1, verbose=0), "between 0 and 1.*=-0.1"),
    "split in words": (lambda m: m.fit(NUMBERS, TARGETS, validation_split="0.2", verbose=0), "between 0 and 1.*'0.2'"),
    "split that is NaN": (lambda m: m.fit(NUMBERS, TARGETS, validation_split=np.nan, verbose=0), "between 0 and 1"),
    "shuffle in words": (lambda m: m.fit(NUMBERS, TARGETS, shuffle="yes", verbose=0), "shuffle must be.*'yes'"),
    "frequency 1.5": (
        lambda m: m.fit(NUMBERS, TARGETS, validation_data=(NUMBERS, TARGETS), validation_freq=1.5, verbose=0),
        "validation_freq must be a list of epochs or a positive whole number.*=1.5",
    ),
    "a generator for several validations": (
        lambda m: m.fit(NUMBERS, TARGETS, validation_data=iter([(NUMBERS, TARGETS)]), epochs=2, verbose=0),
        "validation_data is a generator.*`validation_steps`.*2 validations",
    ),
    "lengths of validation data": (
        lambda m: m.fit(NUMBERS, TARGETS, validation_data=(NUMBERS, TARGETS[:2]), verbose=0),
        "validation_data: All arrays must hold equally many samples.*'x': 6, 'y': 2",
    ),
    "lengths out of a stream": (
        lambda m: m.fit(iter([(NUMBERS, TARGETS[:1])]), verbose=0),
        "equally many samples.*'x': 6, 'y': 1",
    ),
    "no y": (lambda m: m.fit(NUMBERS, verbose=0), "the data have no y"),
    "no x in a batch": (lambda m: m.fit(iter([(None, TARGETS)]), verbose=0), "A batch needs an x"),
    "one of two inputs": (
        lambda m: two_inputs().fit(NUMBERS, TARGETS, verbose=0),
        r"has 2 inputs, \['a', 'b'\]: give a list of them. Received: 1 arrays",
    ),
    "unknown key": (
        lambda m: two_inputs().fit({"a": NUMBERS, "c": NUMBERS[:, :2]}, TARGETS, verbose=0),
        r"has the inputs \['a', 'b'\]. Received: a dict with the keys \['a', 'c'\]",
    ),
    "length of a data set": (
        lambda m: m.fit(type("Half", (Batches,), {"__len__": lambda self: 2.5})(4), verbose=0),
        "The length of a PyDataset must be a whole number, 0 or more.*2.5",
    ),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_messages_say_what_was_expected_and_what_came(name):
    action, message = MESSAGES[name]
    model = regression()
    before = model.get_weights()
    with pytest.raises(ValueError, match=message):
        action(model)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_single_samples_are_no_batches():
    for dataset in (torch.utils.data.TensorDataset(torch.ones(3, 4), torch.ones(3, 1)), Stream()):
        with pytest.raises(TypeError, match=r"gives single samples: wrap it in a .*DataLoader.*Received: x="):
            regression().fit(dataset, verbose=0)


def test_no_epochs_are_no_training():
    model = regression()
    before = model.get_weights()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert model.fit(NUMBERS, TARGETS, epochs=0, verbose=0).history == {}
    np.testing.assert_array_equal(model.get_weights()[0], before[0])


# Data that a layer adapts to.


@pytest.mark.parametrize("form", FORMS)
def test_adapting_to_every_form(form, tmp_path):
    plain, layer = layers.Normalization(), layers.Normalization()
    plain.adapt(MANY.astype("f4"))
    layer.adapt(FORMS[form](MANY, tmp_path / "x"))
    for found, right in ((layer.mean, plain.mean), (layer.variance, plain.variance)):
        np.testing.assert_allclose(found, right, rtol=2e-2 if form == "tensor of bfloat16" else 1e-6)


@pytest.mark.parametrize("name", [name for name in REFUSED if "large" not in name])
def test_what_is_no_number_is_nothing_to_adapt_to(name):
    data, message = REFUSED[name]
    with pytest.raises(ValueError, match=f"data .*{message}"):
        layers.Normalization().adapt(data)
    with pytest.raises(ValueError, match="NaN or infinite"):
        layers.Normalization().adapt(np.array([[np.nan, 1.0]]))
