"""Training means what it means in Keras: every scenario runs in both, from the same weights, and gives the same.

A scenario is a function of the library; it returns whatever is to be equal: histories, weights, logs, predictions.
"""

import math
import warnings

import numpy as np
import pytest
import torch

import triarch

RNG = np.random.default_rng(0)
X = RNG.normal(size=(26, 4)).astype("float32")
REAL = (X @ RNG.normal(size=(4, 1)) + 0.1 * RNG.normal(size=(26, 1))).astype("float32")
PAIR = RNG.normal(size=(26, 2)).astype("float32")
BINARY = (REAL[:, 0] > 0).astype("int64")
CLASSES = np.digitize(REAL[:, 0], [-1.0, 1.0]).astype("int64")
ONE_HOT = np.eye(3, dtype="float32")[CLASSES]
WEIGHT = RNG.uniform(0.2, 2.0, size=26).astype("float32")
IMAGES = RNG.integers(0, 256, size=(26, 6, 6, 1)).astype("uint8")
CE = "sparse_categorical_crossentropy"
QUIET = {"shuffle": False, "verbose": 0}


def same_weights(model, inputs=X):
    """Build the model and give it weights that depend on nothing but their shapes."""
    if not isinstance(inputs, np.ndarray) or not model.built:
        model(inputs)
    rng = np.random.default_rng(1)
    model.set_weights([rng.normal(size=weight.shape, scale=0.3).astype("float32") for weight in model.get_weights()])
    return model


def mlp(k, units=1, activation=None, **dense):
    layers = [
        k.layers.Input((4,)),
        k.layers.Dense(5, activation="tanh", **dense),
        k.layers.Dense(units, activation=activation),
    ]
    return same_weights(k.Sequential(layers))


def two_heads(k, kind):
    class TwoHeads(k.Model):
        def __init__(self):
            super().__init__()
            self.trunk = k.layers.Dense(5, activation="tanh")
            self.z = k.layers.Dense(1)
            self.b = k.layers.Dense(3, activation="softmax")

        def call(self, inputs):
            hidden = self.trunk(inputs)
            z, b = self.z(hidden), self.b(hidden)
            return {"list": [z, b], "tuple": (z, b), "dict": {"z": z, "b": b}}[kind]

    return same_weights(TwoHeads())


TWO_TARGETS = {"list": [REAL, CLASSES], "tuple": (REAL, CLASSES), "dict": {"z": REAL, "b": CLASSES}}


def outcome(model, x, y=None, epochs=2, batch_size=8, evaluate=True, **options):
    """What a `fit` of 26 samples in batches of 8, 8, 8 and 2 leaves behind."""
    history = model.fit(x, y, epochs=epochs, batch_size=batch_size, **(QUIET | options))
    found = {"history": history.history, "epoch": history.epoch, "weights": model.get_weights()}
    if evaluate:
        sample_weight = options.get("sample_weight")
        found["evaluated"] = model.evaluate(
            x, y, batch_size=8, sample_weight=sample_weight, verbose=0, return_dict=True
        )
        if not any("weighted_" in name or name.endswith("_1") for name in found["evaluated"]):
            # Where names repeat, Keras lists the first value over and over.
            found["list"] = model.evaluate(x, y, batch_size=8, sample_weight=sample_weight, verbose=0)
        found["predicted"] = model.predict(x, batch_size=8, verbose=0)
    return found


def assert_same(mine, theirs, where="", tolerance=2e-5):
    if isinstance(theirs, dict):
        assert isinstance(mine, dict), where
        assert list(mine) == list(theirs), where
        for name in theirs:
            assert_same(mine[name], theirs[name], f"{where}[{name!r}]", tolerance)
    elif isinstance(theirs, (list, tuple)):
        assert type(mine) is type(theirs), where
        assert len(mine) == len(theirs), f"{where}: {mine} {theirs}"
        for index, (one, other) in enumerate(zip(mine, theirs, strict=True)):
            assert_same(one, other, f"{where}[{index}]", tolerance)
    elif isinstance(theirs, (float, np.ndarray, np.floating)):
        assert np.shape(mine) == np.shape(theirs), where
        np.testing.assert_allclose(mine, theirs, rtol=tolerance, atol=tolerance, err_msg=where)
    else:
        assert mine == theirs, where


def assert_same_in_both(scenario, keras):
    found = []
    for k in (triarch, keras):
        k.utils.set_random_seed(3)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found.append(scenario(k))
    assert_same(*found)


def compiled(model, **settings):
    model.compile(**({"optimizer": "sgd", "loss": "mse"} | settings))
    return model


# Targets, losses and metrics of one output: (units, activation, targets, compile's arguments, fit's arguments)

SINGLE = {
    "mse of (n, 1)": (1, None, REAL, {"metrics": ["mse", "mae"]}, {}),
    "mse of (n,)": (1, None, REAL[:, 0], {"metrics": ["mse", "mae", "RootMeanSquaredError"]}, {}),
    "mse of doubles": (1, None, REAL.astype("float64"), {}, {}),
    "mse of half floats": (1, None, REAL.astype("float16"), {"metrics": ["mae"]}, {}),
    "mse of integers": (1, None, BINARY, {"metrics": ["mae"]}, {}),
    "targets in a list": (1, None, [REAL], {"loss": ["mse"], "metrics": [["mae"]]}, {}),
    "bce of (n,)": (
        1,
        "sigmoid",
        BINARY,
        {"loss": "binary_crossentropy", "metrics": ["accuracy", "binary_accuracy"]},
        {},
    ),
    "bce of (n, 1)": (1, "sigmoid", BINARY[:, None], {"loss": "bce", "metrics": ["acc", "AUC", "Precision"]}, {}),
    "bce of booleans": (1, "sigmoid", BINARY.astype(bool), {"loss": "bce", "metrics": ["accuracy"]}, {}),
    "bce by shape": (1, "sigmoid", BINARY[:, None].astype("float32"), {"loss": "crossentropy"}, {}),
    "sparse of (n,)": (3, "softmax", CLASSES, {"loss": CE, "metrics": ["accuracy"]}, {}),
    "sparse of (n, 1)": (3, "softmax", CLASSES[:, None], {"loss": "ce", "metrics": ["acc", CE]}, {}),
    "sparse of small integers": (3, "softmax", CLASSES.astype("uint8"), {"loss": "ce", "metrics": ["Accuracy"]}, {}),
    "sparse of floats": (
        3,
        "softmax",
        CLASSES.astype("float32"),
        {"loss": CE, "metrics": ["accuracy", "sparse_categorical_accuracy"]},
        {},
    ),
    "one-hot": (3, "softmax", ONE_HOT, {"loss": "ce", "metrics": ["accuracy", "categorical_accuracy"]}, {}),
    "sample weights": (
        1,
        None,
        REAL,
        {"metrics": ["mae"], "weighted_metrics": ["mae", "mse"]},
        {"sample_weight": WEIGHT},
    ),
    "sample weights (n, 1)": (1, None, REAL, {"weighted_metrics": ["mae"]}, {"sample_weight": WEIGHT[:, None]}),
    "weighted metrics without weights": (1, None, REAL, {"metrics": ["mse"], "weighted_metrics": ["mse"]}, {}),
    "class weights": (
        3,
        "softmax",
        CLASSES,
        {"loss": "ce", "metrics": ["accuracy"], "weighted_metrics": ["accuracy", CE]},
        {"class_weight": {0: 2.0, 2: 0.5}, "evaluate": False},
    ),
    "class weights of one-hot": (
        3,
        "softmax",
        ONE_HOT,
        {"loss": "ce", "weighted_metrics": ["accuracy"]},
        {"class_weight": {0: 2.0, 1: 3.0}, "evaluate": False},
    ),
    "class weights of (n, 1)": (
        1,
        "sigmoid",
        BINARY[:, None].astype("float32"),
        {"loss": "bce", "weighted_metrics": ["accuracy"]},
        {"class_weight": {1: 4.0}, "evaluate": False},
    ),
    "loss weight": (1, None, REAL, {"loss_weights": [0.3]}, {}),
    "steps": (1, None, REAL, {}, {"steps_per_epoch": 2, "evaluate": False}),
    "initial epoch": (1, None, REAL, {}, {"initial_epoch": 1, "epochs": 3}),
    "validation split": (1, None, REAL, {"metrics": ["mae"]}, {"validation_split": 0.3}),
    "validation split with weights": (
        1,
        None,
        REAL,
        {"weighted_metrics": ["mae"]},
        {"validation_split": 0.25, "sample_weight": WEIGHT},
    ),
    "validation data": (1, None, REAL, {"metrics": ["mae"]}, {"validation_data": (X[:11], REAL[:11])}),
    "validation data with weights": (
        1,
        None,
        REAL,
        {"weighted_metrics": ["mae"]},
        {"validation_data": (X[:11], REAL[:11], WEIGHT[:11]), "validation_batch_size": 4},
    ),
    "validation frequency": (
        1,
        None,
        REAL,
        {},
        {"validation_data": (X, REAL), "validation_freq": 2, "epochs": 5},
    ),
    "validation at epochs": (
        1,
        None,
        REAL,
        {},
        {"validation_data": (X, REAL), "validation_freq": [1, 4], "epochs": 5},
    ),
    "validation steps": (
        1,
        None,
        REAL,
        {},
        {"validation_data": (X, REAL), "validation_steps": 2, "validation_batch_size": 5, "epochs": 3},
    ),
}


@pytest.mark.parametrize("name", SINGLE)
def test_one_output(name, keras):
    units, activation, y, settings, options = SINGLE[name]
    assert_same_in_both(lambda k: outcome(compiled(mlp(k, units, activation), **settings), X, y, **options), keras)


OBJECTS = {
    "loss object": lambda k: {"loss": k.losses.Huber(0.5), "metrics": [k.metrics.MeanSquaredError()]},
    "summed loss": lambda k: {"loss": k.losses.MeanSquaredError(reduction="sum")},
    "loss function": lambda k: {"loss": lambda y, p: (y - p).abs().mean(-1)},
    "scalar loss function": lambda k: {"loss": lambda y, p: (y - p).abs().mean()},
    "named metrics": lambda k: {"metrics": [k.metrics.MeanSquaredError(name="first"), k.metrics.MeanAbsoluteError()]},
    "metric class": lambda k: {"metrics": [k.metrics.MeanSquaredError]},
    "metric function": lambda k: {"metrics": [largest_error, k.metrics.mean_absolute_error]},
    "loss as metric": lambda k: {"metrics": [k.losses.LogCosh(), k.losses.huber]},
}


def largest_error(y_true, y_pred):
    return (y_true - y_pred).abs().amax(-1)


@pytest.mark.parametrize("name", OBJECTS)
def test_objects_and_functions(name, keras):
    assert_same_in_both(lambda k: outcome(compiled(mlp(k), **OBJECTS[name](k)), X, REAL), keras)


def test_metrics_of_one_name_are_numbered(keras):
    def scenario(k):
        metrics = ["mse", k.metrics.MeanSquaredError(name="mse"), "mse"]
        model = compiled(mlp(k), metrics=metrics, weighted_metrics=["mse", "mse"])
        return outcome(model, X, REAL, sample_weight=WEIGHT)

    assert_same_in_both(scenario, keras)


def test_values_of_one_name_are_listed_once():
    model = compiled(mlp(triarch), metrics=["mse", "mse"], weighted_metrics=["mse"])
    listed = model.evaluate(X, REAL, sample_weight=WEIGHT, verbose=0)
    named = model.evaluate(X, REAL, sample_weight=WEIGHT, verbose=0, return_dict=True)
    assert model.metrics_names == ["loss", "mse", "mse_1", "weighted_mse"]
    assert listed == [named[name] for name in model.metrics_names]


# Several outputs: (kind of output, compile's arguments, fit's arguments)

SEVERAL = {
    "list": ("list", {"loss": ["mse", CE]}, {}),
    "tuple": ("tuple", {"loss": ["mse", CE], "loss_weights": [0.5, 2.0]}, {}),
    "dict": ("dict", {"loss": {"z": "mse", "b": CE}}, {}),
    "dict in another order": ("dict", {"loss": {"b": CE, "z": "mse"}, "loss_weights": {"b": 0.5, "z": 2.0}}, {}),
    "list with metrics": (
        "list",
        {"loss": ["mse", CE], "metrics": [["mae", "mse"], ["accuracy"]], "weighted_metrics": [["msle"], None]},
        {},
    ),
    "list with one metric each": ("list", {"loss": ["mse", CE], "metrics": ["mae", "accuracy"]}, {}),
    "dict with metrics": (
        "dict",
        {"loss": {"z": "mse", "b": CE}, "metrics": {"b": ["accuracy", CE], "z": "mae"}},
        {},
    ),
    "dict with metrics of one output": (
        "dict",
        {"loss": {"z": "mse", "b": CE}, "metrics": {"b": "acc"}, "weighted_metrics": {"b": ["acc", CE]}},
        {},
    ),
    "list with one loss": ("list", {"loss": [None, CE], "metrics": [["mae"], ["accuracy"]]}, {}),
    "dict with one loss": ("dict", {"loss": {"b": CE}, "metrics": {"b": ["accuracy"]}}, {}),
    "dict with a loss of None": ("dict", {"loss": {"z": None, "b": CE}}, {}),
    "one weight for all": (
        "dict",
        {"loss": {"z": "mse", "b": CE}, "weighted_metrics": {"z": ["mae"], "b": ["acc"]}},
        {"sample_weight": {"z": WEIGHT, "b": WEIGHT}},
    ),
    "a weight for each": (
        "list",
        {"loss": ["mse", CE], "weighted_metrics": [["mae"], ["acc"]]},
        {"sample_weight": [WEIGHT, WEIGHT[::-1].copy()]},
    ),
    "a weight for each by name": (
        "dict",
        {"loss": {"z": "mse", "b": CE}, "weighted_metrics": {"z": ["mae"], "b": ["acc"]}},
        {"sample_weight": {"z": WEIGHT, "b": WEIGHT[::-1].copy()}},
    ),
    "validation": (
        "dict",
        {"loss": {"z": "mse", "b": CE}, "metrics": {"b": ["accuracy"]}},
        {"validation_split": 0.3},
    ),
}


@pytest.mark.parametrize("name", SEVERAL)
def test_several_outputs(name, keras):
    kind, settings, options = SEVERAL[name]
    assert_same_in_both(
        lambda k: outcome(compiled(two_heads(k, kind), **settings), X, TWO_TARGETS[kind], **options), keras
    )


def test_one_weight_array_serves_all_outputs(keras):
    def scenario(k):
        model = compiled(two_heads(k, "dict"), loss={"z": "mse", "b": CE}, weighted_metrics={"z": ["mae"]})
        return outcome(model, X, TWO_TARGETS["dict"], sample_weight=WEIGHT)

    assert_same_in_both(scenario, keras)


def test_targets_of_the_outputs_that_have_a_loss(keras):
    def scenario(k):
        by_name = compiled(two_heads(k, "dict"), loss={"b": CE})
        by_place = compiled(two_heads(k, "list"), loss=[None, CE])
        found = [outcome(by_name, X, {"b": CLASSES}, evaluate=False)]
        return [*found, outcome(by_place, X, [CLASSES], evaluate=False)]

    assert_same_in_both(scenario, keras)


def test_one_loss_for_all_outputs(keras):
    def scenario(k):
        model = compiled(two_heads(k, "dict"), loss="mae")
        return outcome(model, X, {"z": REAL, "b": ONE_HOT})

    assert_same_in_both(scenario, keras)


@pytest.mark.parametrize("kind", ["list", "dict"])
def test_a_single_output_in_a_container(kind, keras):
    def scenario(k):
        class Wrapped(k.Model):
            def __init__(self):
                super().__init__()
                self.dense = k.layers.Dense(1)

            def call(self, inputs):
                return [self.dense(inputs)] if kind == "list" else {"only": self.dense(inputs)}

        loss, y = (["mse"], [REAL]) if kind == "list" else ({"only": "mse"}, {"only": REAL})
        return outcome(compiled(same_weights(Wrapped()), loss=loss, metrics=["mae"]), X, y)

    assert_same_in_both(scenario, keras)


def test_losses_of_one_name_are_numbered():
    class Pair(triarch.Model):
        def __init__(self):
            super().__init__()
            self.first, self.second = triarch.layers.Dense(1), triarch.layers.Dense(1)

        def call(self, inputs):
            return self.first(inputs), self.second(inputs)

    history = compiled(same_weights(Pair()), loss=["mse", "mse"]).fit(X, (REAL, REAL), **QUIET).history
    assert list(history) == ["loss", "mse_loss", "mse_loss_1"]  # Keras keeps the last of them alone


# Terms beside the loss


def with_regularizers(k):
    r = k.regularizers
    return mlp(k, kernel_regularizer=r.L2(0.1), bias_regularizer="l1", activity_regularizer=r.L1(0.02))


def with_added_losses(k):
    class Added(k.layers.Layer):
        def call(self, inputs):
            self.add_loss(0.1 * (inputs**2).mean())
            return inputs

    class Outer(k.Model):
        def __init__(self):
            super().__init__()
            self.inner = k.Sequential([k.layers.Dense(5, kernel_regularizer="l2"), Added()])
            self.head = k.layers.Dense(1, activity_regularizer="l2")

        def call(self, inputs):
            hidden = self.inner(inputs)
            self.add_loss((hidden**2).sum() * 1e-3)
            return self.head(hidden)

    return same_weights(Outer())


def with_frozen_layer(k):
    model = mlp(k, kernel_regularizer="l2")
    model.layers[0].trainable = False
    return model


def nested(k):
    inner = k.Sequential([k.layers.Dense(5, activation="relu"), k.layers.Dense(3)])
    return same_weights(k.Sequential([k.layers.Input((4,)), inner, k.layers.Dense(1)]))


def nested_and_compiled(k):
    inner = compiled(k.Sequential([k.layers.Dense(3)]), metrics=["mae"])
    return same_weights(k.Sequential([inner, k.layers.Dense(1)]))


def with_own_metrics(k):
    class Watching(k.layers.Layer):
        def __init__(self):
            super().__init__()
            self._mean = k.metrics.Mean(name="hidden")

        def call(self, inputs):
            self._mean.update_state(inputs)
            return inputs

    class Own(k.Model):
        def __init__(self):
            super().__init__()
            self.dense = k.layers.Dense(1)
            self.watching = Watching()
            self.several = [k.metrics.MeanSquaredError(name="gap")]

        def call(self, inputs):
            outputs = self.watching(self.dense(inputs))
            self.several[0].update_state(inputs[:, :1], outputs)
            return outputs

    return same_weights(Own())


MODELS = {
    function.__name__: function
    for function in (
        with_regularizers,
        with_added_losses,
        with_frozen_layer,
        nested,
        nested_and_compiled,
        with_own_metrics,
    )
}


@pytest.mark.parametrize("name", MODELS)
def test_models(name, keras):
    def scenario(k):
        model = compiled(MODELS[name](k), metrics=["mae"])
        found = outcome(model, X, REAL, validation_split=0.2)
        lines = []
        model.summary(print_fn=lambda text, **_: lines.append(text))
        assert lines
        return found | {"losses": [float(loss) for loss in model.losses], "parameters": model.count_params()}

    assert_same_in_both(scenario, keras)


def test_a_loss_of_added_terms_alone(keras):
    assert_same_in_both(lambda k: outcome(compiled(with_added_losses(k), loss=None), X), keras)


def test_a_generator_that_ends_early_ends_training_with_a_warning():
    model = compiled(mlp(triarch))
    with pytest.warns(UserWarning, match="no batch in epoch 2"):
        history = model.fit(iter([(X, REAL)]), epochs=3, verbose=0)
    assert history.epoch == [0]
    assert np.isfinite(model.evaluate(X, REAL, verbose=0))


def test_entropy_and_accuracy_metrics_by_shape():
    settings = {"loss": "ce", "metrics": ["ce", "Accuracy"]}
    for y in (CLASSES, CLASSES[:, None], ONE_HOT):
        values = compiled(mlp(triarch, 3, "softmax"), **settings).evaluate(X, y, verbose=0, return_dict=True)
        assert list(values) == ["Accuracy", "ce", "loss"]
        assert values["ce"] == pytest.approx(values["loss"], rel=1e-5)


@pytest.mark.parametrize("data", ["doubles", "integers", "bytes", "booleans", "half"])
def test_types_of_inputs(data, keras):
    x = {
        "doubles": X.astype("float64"),
        "integers": (4 * X).astype("int64"),
        "bytes": IMAGES[:, 0, :4, 0],
        "booleans": X > 0,
        "half": X.astype("float16"),
    }[data]
    optimizer = "adam"
    assert_same_in_both(lambda k: outcome(compiled(mlp(k), optimizer=optimizer), x, REAL), keras)


def test_images_of_bytes(keras):
    def scenario(k):
        layers = [
            k.layers.Input((6, 6, 1)),
            k.layers.Rescaling(1 / 255),
            k.layers.Conv2D(3, 3, activation="relu"),
            k.layers.MaxPooling2D(),
            k.layers.Flatten(),
            k.layers.Dense(3, activation="softmax"),
        ]
        model = same_weights(k.Sequential(layers), IMAGES)
        return outcome(compiled(model, optimizer="adam", loss=CE, metrics=["accuracy"]), IMAGES, CLASSES)

    assert_same_in_both(scenario, keras)


# Optimizers in `fit`

OPTIMIZERS = {
    "averages": lambda k: k.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.7),
    "averages put in place": lambda k: k.optimizers.Adam(
        0.05, use_ema=True, ema_momentum=0.7, ema_overwrite_frequency=3
    ),
    "clipnorm": lambda k: k.optimizers.SGD(0.1, clipnorm=0.2),
    "global_clipnorm": lambda k: k.optimizers.SGD(0.1, momentum=0.9, global_clipnorm=0.3),
    "clipvalue": lambda k: k.optimizers.RMSprop(0.01, clipvalue=0.05),
    "schedule": lambda k: k.optimizers.Adam(
        k.optimizers.schedules.CosineDecay(0.1, 6, warmup_steps=2, warmup_target=0.2)
    ),
    "accumulation": lambda k: k.optimizers.SGD(0.1, gradient_accumulation_steps=3),
    "accumulation and averages": lambda k: k.optimizers.Adam(0.1, gradient_accumulation_steps=2, use_ema=True),
    "decay": lambda k: k.optimizers.AdamW(0.05, weight_decay=0.1),
    "loss scale": lambda k: k.optimizers.SGD(0.1, loss_scale_factor=128.0),
    "nesterov": lambda k: k.optimizers.SGD(0.05, momentum=0.9, nesterov=True),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers(name, keras):
    assert_same_in_both(
        lambda k: outcome(compiled(mlp(k), optimizer=OPTIMIZERS[name](k)), X, REAL, epochs=3, validation_split=0.2),
        keras,
    )


# Sources of data


def dataset(k, y=REAL):
    class Batches(k.utils.PyDataset):
        def __len__(self):
            return 4

        def __getitem__(self, index):
            rows = slice(8 * index, 8 * index + 8)
            return (X[rows], y[rows], WEIGHT[rows]) if y is REAL else (X[rows], y[rows])

    return Batches()


def loader():
    data = torch.utils.data.TensorDataset(torch.from_numpy(X), torch.from_numpy(REAL))
    return torch.utils.data.DataLoader(data, batch_size=8)


def endless(size=8):
    while True:
        for start in range(0, 26, size):
            yield X[start : start + size], REAL[start : start + size]


SOURCES = {
    "PyDataset": lambda k: (dataset(k), {}),
    "PyDataset with steps": lambda k: (dataset(k), {"steps_per_epoch": 2}),
    "PyDataset for validation": lambda k: (dataset(k), {"validation_data": dataset(k)}),
    "DataLoader": lambda k: (loader(), {"validation_data": loader()}),
    "generator": lambda k: (endless(), {"steps_per_epoch": 3}),
    "class weights": lambda k: (dataset(k, BINARY[:, None]), {"class_weight": {0: 3.0}}),
}


@pytest.mark.parametrize("name", SOURCES)
def test_sources(name, keras):
    def scenario(k):
        x, options = SOURCES[name](k)
        model = compiled(mlp(k), metrics=["mae"], weighted_metrics=["mae"])
        history = model.fit(x, epochs=2, **QUIET, **options)
        return {"history": history.history, "weights": model.get_weights()}

    assert_same_in_both(scenario, keras)


def test_evaluate_and_predict_of_sources(keras):
    def scenario(k):
        model = compiled(mlp(k), metrics=["mae"])
        return [
            model.evaluate(dataset(k), verbose=0),
            model.evaluate(loader(), verbose=0),
            model.evaluate(endless(), steps=5, verbose=0),
            model.evaluate(X, REAL, batch_size=5, steps=2, verbose=0),
            model.predict(dataset(k), verbose=0),
            model.predict(loader(), verbose=0),
            model.predict(endless(), steps=3, verbose=0),
            model.predict(X, batch_size=5, steps=2, verbose=0),
        ]

    assert_same_in_both(scenario, keras)


def test_nested_predictions(keras):
    def scenario(k):
        class Nested(k.Model):
            def __init__(self):
                super().__init__()
                self.dense = k.layers.Dense(2)

            def call(self, inputs):
                y = self.dense(inputs)
                return {"a": y, "b": [y * 2, (y * 3, y + 1)]}

        model = same_weights(Nested())
        return [model.predict(X, batch_size=10, verbose=0), model.predict_on_batch(X[:3])]

    assert_same_in_both(scenario, keras)


# Single batches


@pytest.mark.parametrize("has_metrics", [False, True])
def test_on_batch(has_metrics, keras):
    def scenario(k):
        model = compiled(
            mlp(k), metrics=["mae"] if has_metrics else None, weighted_metrics=["mse"] if has_metrics else None
        )
        return [
            model.train_on_batch(X, REAL),
            model.train_on_batch(X[:9], REAL[:9], sample_weight=WEIGHT[:9]),
            model.train_on_batch(X[:9], REAL[:9], return_dict=True),
            model.test_on_batch(X, REAL),
            model.test_on_batch(X[9:], REAL[9:], sample_weight=WEIGHT[9:], return_dict=True),
            model.predict_on_batch(X[:3]),
            model.get_metrics_result(),
            model.evaluate(X, REAL, verbose=0),
            model.get_weights(),
        ]

    def plain(k):
        *values, weights = scenario(k)
        results = values[-2]
        values[-2] = {name: float(value) for name, value in results.items()}
        return [*values, weights]

    assert_same_in_both(plain, keras)


@pytest.mark.parametrize("kind", ["list", "dict"])
def test_on_batch_with_several_outputs(kind, keras):
    def scenario(k):
        loss = ["mse", CE] if kind == "list" else {"z": "mse", "b": CE}
        metrics = [["mae"], ["accuracy"]] if kind == "list" else {"z": ["mae"], "b": ["accuracy"]}
        model = compiled(two_heads(k, kind), loss=loss, metrics=metrics)
        y = TWO_TARGETS[kind]
        return [
            model.train_on_batch(X, y),
            model.train_on_batch(X, y, return_dict=True),
            model.test_on_batch(X, y),
            model.predict_on_batch(X),
        ]

    assert_same_in_both(scenario, keras)


def test_class_weight_on_batch(keras):
    def scenario(k):
        model = compiled(mlp(k, 3, "softmax"), loss=CE, weighted_metrics=["accuracy"])
        return [model.train_on_batch(X, CLASSES, class_weight={1: 3.0}), model.get_weights()]

    assert_same_in_both(scenario, keras)


# Callbacks


HOOKS = ("begin", "end")


def recording(k, stop=None):
    """A callback that notes each hook's name, number and logs; `stop` names the call at which training is stopped."""
    calls = []

    class Recording(k.callbacks.Callback):
        pass

    def numbered(name):
        def hook(self, number, logs=None):
            calls.append(
                (name, number, dict(sorted((logs or {}).items())) if "predict" not in name else sorted(logs or {}))
            )
            if (name, number) == stop:
                self.model.stop_training = self.model.stop_evaluating = self.model.stop_predicting = True

        return hook

    def whole(name):
        def hook(self, logs=None):
            calls.append((name, dict(sorted((logs or {}).items()))))

        return hook

    for end in HOOKS:
        setattr(Recording, f"on_epoch_{end}", numbered(f"on_epoch_{end}"))
        for phase in ("train", "test", "predict"):
            setattr(Recording, f"on_{phase}_{end}", whole(f"on_{phase}_{end}"))
            setattr(Recording, f"on_{phase}_batch_{end}", numbered(f"on_{phase}_batch_{end}"))
    return Recording(), calls


@pytest.mark.parametrize("stop", [None, ("on_train_batch_end", 1), ("on_epoch_end", 0), ("on_epoch_begin", 1)])
def test_hooks_of_fit(stop, keras):
    def scenario(k):
        callback, calls = recording(k, stop)
        model = compiled(mlp(k), metrics=["mae"])
        outcome(model, X, REAL, epochs=3, validation_split=0.4, evaluate=False, callbacks=[callback])
        return [calls, callback.params, model.get_weights()]

    assert_same_in_both(scenario, keras)


@pytest.mark.parametrize("stop", [None, ("on_test_batch_end", 1), ("on_predict_batch_end", 0)])
def test_hooks_of_evaluate_and_predict(stop, keras):
    def scenario(k):
        callback, calls = recording(k, stop)
        model = compiled(mlp(k), metrics=["mae"])
        values = model.evaluate(X, REAL, batch_size=8, verbose=0, callbacks=[callback])
        outputs = model.predict(X, batch_size=8, verbose=0, callbacks=[callback])
        return [calls, values, outputs, callback.params]

    assert_same_in_both(scenario, keras)


def test_hooks_with_steps(keras):
    def scenario(k):
        callback, calls = recording(k)
        model = compiled(mlp(k))
        model.fit(
            endless(),
            steps_per_epoch=2,
            epochs=2,
            validation_data=loader(),
            validation_steps=1,
            verbose=0,
            callbacks=[callback],
        )
        return [calls, callback.params]

    assert_same_in_both(scenario, keras)


def test_the_batch_hook_of_predict_gets_arrays(keras):
    def scenario(k):
        seen = []
        watch = k.callbacks.LambdaCallback(on_predict_batch_end=lambda batch, logs: seen.append(logs["outputs"]))
        mlp(k).predict(X, batch_size=8, verbose=0, callbacks=[watch])
        return seen

    assert_same_in_both(scenario, keras)


CALLBACKS = {
    "early stopping": lambda k: [k.callbacks.EarlyStopping(patience=2)],
    "best weights": lambda k: [k.callbacks.EarlyStopping(patience=2, restore_best_weights=True)],
    "best weights, never stopped": lambda k: [k.callbacks.EarlyStopping(patience=50, restore_best_weights=True)],
    "min_delta and a start": lambda k: [
        k.callbacks.EarlyStopping("mae", min_delta=0.05, patience=1, start_from_epoch=2, restore_best_weights=True)
    ],
    "baseline": lambda k: [k.callbacks.EarlyStopping("val_mae", baseline=0.01, patience=3, mode="min")],
    "plateau": lambda k: [k.callbacks.ReduceLROnPlateau(factor=0.3, patience=1, cooldown=1, min_lr=0.02)],
    "schedule": lambda k: [k.callbacks.LearningRateScheduler(lambda epoch, rate: rate * math.exp(-0.1 * epoch))],
    "schedule of the epoch": lambda k: [k.callbacks.LearningRateScheduler(lambda epoch: 0.3 / (1 + epoch))],
    "all of them": lambda k: [
        k.callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.9),
        k.callbacks.ReduceLROnPlateau("loss", factor=0.5, patience=1),
        k.callbacks.EarlyStopping("val_mae", patience=3, restore_best_weights=True),
    ],
}


@pytest.mark.parametrize("use_ema", [False, True])
@pytest.mark.parametrize("name", CALLBACKS)
def test_callbacks_that_steer(name, use_ema, keras):
    def scenario(k):
        optimizer = k.optimizers.SGD(0.2, momentum=0.9, use_ema=use_ema, ema_momentum=0.6)
        model = compiled(mlp(k), optimizer=optimizer, metrics=["mae"])
        found = outcome(model, X, REAL, epochs=9, validation_split=0.4, evaluate=False, callbacks=CALLBACKS[name](k))
        return found | {"rate": float(model.optimizer.learning_rate)}

    assert_same_in_both(scenario, keras)


def test_swapped_averages(keras):
    def scenario(k):
        model = compiled(mlp(k), optimizer=k.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.6))
        callbacks = [k.callbacks.SwapEMAWeights(swap_on_epoch=True)]
        return outcome(model, X, REAL, epochs=3, validation_split=0.4, callbacks=callbacks)

    assert_same_in_both(scenario, keras)


@pytest.mark.parametrize("save_best_only", [False, True])
def test_checkpoints(save_best_only, keras, tmp_path):
    def scenario(k):
        folder = tmp_path / k.__name__
        path = folder / "at-{epoch:02d}-{val_loss:.2f}.weights.h5"
        save = k.callbacks.ModelCheckpoint(path, save_best_only=save_best_only, save_weights_only=True)
        model = compiled(mlp(k), optimizer=k.optimizers.SGD(0.2, momentum=0.9))
        found = outcome(model, X, REAL, epochs=6, validation_split=0.4, evaluate=False, callbacks=[save])
        files = sorted(folder.iterdir())
        weights = []
        for file in files:
            model.load_weights(file)
            weights.append(model.get_weights())
        return found | {"files": [file.name for file in files], "saved": weights}

    assert_same_in_both(scenario, keras)


def test_callbacks_that_use_the_model(keras):
    def scenario(k):
        seen = []

        class Busy(k.callbacks.Callback):
            def on_train_batch_end(self, batch, logs=None):
                if batch == 1:
                    seen.append(self.model.predict(X, verbose=0))  # `evaluate` resets Keras's counts of the epoch
                    self.model.optimizer.learning_rate = 0.5 * float(self.model.optimizer.learning_rate)

                logs["added"] = 1.0

            def on_epoch_begin(self, epoch, logs=None):
                self.model.layers[-1].bias.assign(torch.full((1,), 0.25 * epoch))

            def on_epoch_end(self, epoch, logs=None):
                seen.append(self.model.predict(X, verbose=0))
                seen.append(self.model.evaluate(X, REAL, verbose=0, return_dict=True))
                self.model.optimizer.learning_rate.assign(0.02)
                logs["extra"] = float(epoch)

        model = compiled(mlp(k), metrics=["mae"])
        return [outcome(model, X, REAL, callbacks=[Busy()], validation_split=0.3), seen]

    assert_same_in_both(scenario, keras)


def test_history_goes_on_over_two_fits(keras):
    def scenario(k):
        model = compiled(mlp(k), metrics=["mae"])
        history = k.callbacks.History()
        outcome(model, X, REAL, callbacks=[history], evaluate=False)
        outcome(model, X, REAL, callbacks=[history], evaluate=False, initial_epoch=2, epochs=4)
        return [history.history, history.epoch, model.history is history]

    assert_same_in_both(scenario, keras)


# Custom training, as Keras's guides write it for torch


def guide_train_step(k):
    class Custom(k.Model):
        def __init__(self):
            super().__init__()
            self.hidden, self.head = k.layers.Dense(5, activation="relu"), k.layers.Dense(1)

        def call(self, inputs):
            return self.head(self.hidden(inputs))

        def train_step(self, data):
            x, y = data
            self.zero_grad()
            y_pred = self(x, training=True)
            loss = self.compute_loss(y=y, y_pred=y_pred)
            loss.backward()
            trainable_weights = list(self.trainable_weights)
            gradients = [v.value.grad for v in trainable_weights]
            with torch.no_grad():
                self.optimizer.apply(gradients, trainable_weights)
            for metric in self.metrics:
                if metric.name == "loss":
                    metric.update_state(loss)
                else:
                    metric.update_state(y, y_pred)
            return {m.name: m.result() for m in self.metrics}

        def test_step(self, data):
            x, y = data
            y_pred = self(x, training=False)
            loss = self.compute_loss(y=y, y_pred=y_pred)
            for metric in self.metrics:
                if metric.name == "loss":
                    metric.update_state(loss)
                else:
                    metric.update_state(y, y_pred)
            return {m.name: m.result() for m in self.metrics}

    return compiled(same_weights(Custom()), optimizer="adam", metrics=["mae", "mse"])


def guide_low_level(k):
    class Custom(k.Model):
        def __init__(self):
            super().__init__()
            self.head = k.layers.Dense(1)
            self.loss_tracker = k.metrics.Mean(name="loss")
            self.mae_metric = k.metrics.MeanAbsoluteError(name="mae")
            self.loss_fn = k.losses.MeanSquaredError()

        def call(self, inputs):
            return self.head(inputs)

        def train_step(self, data):
            x, y = data
            self.zero_grad()
            y_pred = self(x, training=True)
            loss = self.loss_fn(y, y_pred)
            loss.backward()
            trainable_weights = list(self.trainable_weights)
            gradients = [v.value.grad for v in trainable_weights]
            with torch.no_grad():
                self.optimizer.apply(gradients, trainable_weights)
            self.loss_tracker.update_state(loss)
            self.mae_metric.update_state(y, y_pred)
            return {"loss": self.loss_tracker.result(), "mae": self.mae_metric.result()}

        def test_step(self, data):
            x, y = data
            y_pred = self(x, training=False)
            self.loss_tracker.update_state(self.loss_fn(y, y_pred))
            self.mae_metric.update_state(y, y_pred)
            return {"loss": self.loss_tracker.result(), "mae": self.mae_metric.result()}

        @property
        def metrics(self):
            return [self.loss_tracker, self.mae_metric]

    model = same_weights(Custom())
    model.compile(optimizer="adam")
    return model


def guide_weights(k):
    class Custom(k.Sequential):
        def train_step(self, data):
            if len(data) == 3:
                x, y, sample_weight = data
            else:
                sample_weight = None
                x, y = data
            self.zero_grad()
            y_pred = self(x, training=True)
            loss = self.compute_loss(y=y, y_pred=y_pred, sample_weight=sample_weight)
            loss.backward()
            trainable_weights = list(self.trainable_weights)
            gradients = [v.value.grad for v in trainable_weights]
            with torch.no_grad():
                self.optimizer.apply(gradients, trainable_weights)
            for metric in self.metrics:
                if metric.name == "loss":
                    metric.update_state(loss)
                else:
                    metric.update_state(y, y_pred, sample_weight=sample_weight)
            return {m.name: m.result() for m in self.metrics}

    model = same_weights(Custom([k.layers.Input((4,)), k.layers.Dense(1)]))
    return compiled(model, optimizer="adam", metrics=["mae"], weighted_metrics=["mse"])


def own_compute_loss(k):
    class Custom(k.Sequential):
        def compute_loss(self, x, y, y_pred, sample_weight):
            return 2 * super().compute_loss(x, y, y_pred, sample_weight) + (y_pred**2).mean()

    return compiled(same_weights(Custom([k.layers.Input((4,)), k.layers.Dense(1)])), metrics=["mae"])


def own_compute_loss_with_tracker(k):
    class Custom(k.Sequential):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.loss_tracker = k.metrics.Mean(name="loss")

        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            loss = ((y_pred - y) ** 2).mean()
            loss = loss + sum(self.losses)
            self.loss_tracker.update_state(loss)
            return loss

        def reset_metrics(self):
            self.loss_tracker.reset_state()

        @property
        def metrics(self):
            return [self.loss_tracker]

    layers = [k.layers.Input((4,)), k.layers.Dense(1, kernel_regularizer="l2")]
    model = same_weights(Custom(layers))
    model.compile("sgd")
    return model


def own_compute_metrics(k):
    class Custom(k.Sequential):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.custom_metric = k.metrics.MeanAbsoluteError(name="custom_metric")

        def compute_metrics(self, x, y, y_pred, sample_weight):
            metric_results = super().compute_metrics(x, y, y_pred, sample_weight)
            self.custom_metric.update_state(y, y_pred, sample_weight)
            metric_results["custom_metric"] = self.custom_metric.result()
            return metric_results

    return compiled(same_weights(Custom([k.layers.Input((4,)), k.layers.Dense(1)])), metrics=["mse"])


def logs_added_to(k):
    class Custom(k.Sequential):
        def train_step(self, data):
            logs = super().train_step(data)
            logs["rows"] = float(len(data[0]))
            return logs

    return compiled(same_weights(Custom([k.layers.Input((4,)), k.layers.Dense(1)])), metrics=["mse"])


def logs_replaced(k):
    class Custom(k.Sequential):
        def train_step(self, data):
            super().train_step(data)
            return {"z_last": self(data[0]).mean(), "a_first": 1.5}

        def test_step(self, data):
            super().test_step(data)
            return {"z_last": self(data[0]).mean(), "a_first": 2.5}

    return compiled(same_weights(Custom([k.layers.Input((4,)), k.layers.Dense(1)])), metrics=["mse"])


CUSTOM = {
    function.__name__: function
    for function in (
        guide_train_step,
        guide_low_level,
        guide_weights,
        own_compute_loss,
        own_compute_loss_with_tracker,
        own_compute_metrics,
        logs_added_to,
        logs_replaced,
    )
}


@pytest.mark.parametrize("name", CUSTOM)
def test_custom_training(name, keras):
    def scenario(k):
        model = CUSTOM[name](k)
        callback, calls = recording(k)
        options = {"sample_weight": WEIGHT} if name == "guide_weights" else {}
        found = outcome(model, X, REAL, validation_split=0.3, callbacks=[callback], **options)
        found["history"] = dict(sorted(found["history"].items()))
        batch = torch.from_numpy(X), torch.from_numpy(REAL)
        return [found, calls, model.test_on_batch(*batch) if "guide" not in name else None]

    assert_same_in_both(scenario, keras)


def test_the_guides_loop_from_scratch(keras):
    def scenario(k):
        model = mlp(k, 3)
        optimizer = k.optimizers.Adam(learning_rate=1e-2)
        loss_fn = k.losses.SparseCategoricalCrossentropy(from_logits=True)
        metric = k.metrics.SparseCategoricalAccuracy()
        seen = []
        for _ in range(2):
            for start in range(0, 26, 8):
                inputs, targets = torch.from_numpy(X[start : start + 8]), torch.from_numpy(CLASSES[start : start + 8])
                logits = model(inputs, training=True)
                loss = loss_fn(targets, logits)
                model.zero_grad()
                trainable_weights = list(model.trainable_weights)
                loss.backward()
                gradients = [v.value.grad for v in trainable_weights]
                with torch.no_grad():
                    optimizer.apply(gradients, trainable_weights)
                metric.update_state(targets, logits)
                seen.append(float(loss.detach()))
            seen.append(float(metric.result()))
            metric.reset_state()
        return [seen, model.get_weights()]

    assert_same_in_both(scenario, keras)


def test_models_built_by_fit(keras):
    def scenario(k):
        class Plain(k.Model):
            def __init__(self):
                super().__init__()
                self.first = k.layers.Dense(3, kernel_initializer="ones", activation="tanh")
                self.second = k.Sequential([k.layers.Dense(1, kernel_initializer="ones")])

            def call(self, inputs, training=False):
                return self.second(self.first(inputs))

        found = []
        stack = k.Sequential(
            [k.layers.Dense(3, "tanh", kernel_initializer="ones"), k.layers.Dense(1, kernel_initializer="ones")]
        )
        for model in (stack, Plain()):
            found.append(outcome(compiled(model, metrics=["mae"]), X, REAL, validation_split=0.2))
            model.summary(print_fn=lambda text, **_: None)
            found.append([model.built, model.count_params()])
        return found

    assert_same_in_both(scenario, keras)


def test_dict_inputs(keras):
    def scenario(k):
        class Named(k.Model):
            def __init__(self):
                super().__init__()
                self.a, self.b = k.layers.Dense(2), k.layers.Dense(1)

            def call(self, inputs):
                return self.b(self.a(inputs["left"]) * inputs["right"])

        data = {"left": X, "right": PAIR}
        model = Named()
        model({name: torch.from_numpy(value) for name, value in data.items()})
        rng = np.random.default_rng(1)
        model.set_weights([rng.normal(size=weight.shape).astype("float32") for weight in model.get_weights()])
        return outcome(compiled(model), data, REAL, validation_split=0.2)

    assert_same_in_both(scenario, keras)


@pytest.mark.parametrize("parts", [(X,), [X, REAL], (X, REAL, WEIGHT)])
def test_forms_of_validation_data(parts, keras):
    def scenario(k):
        class Summing(k.Sequential):
            def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
                return (y_pred**2).mean() if y is None else super().compute_loss(x, y, y_pred, sample_weight)

        model = compiled(same_weights(Summing([k.layers.Input((4,)), k.layers.Dense(1)])))
        return outcome(model, X, REAL, validation_data=parts)

    assert_same_in_both(scenario, keras)


def test_one_input_in_a_list(keras):
    def scenario(k):
        model = compiled(mlp(k))
        return [outcome(model, [X], REAL), model.predict_on_batch([X[:2]])]

    assert_same_in_both(scenario, keras)


def test_evaluating_without_an_optimizer(keras):
    def scenario(k):
        model = compiled(mlp(k), optimizer=None, metrics=["mae"])
        return [model.evaluate(X, REAL, verbose=0), model.test_on_batch(X, REAL)]

    assert_same_in_both(scenario, keras)


def test_compiling_anew_starts_anew(keras):
    def scenario(k):
        model = compiled(mlp(k), optimizer=k.optimizers.Adam(0.05), metrics=["mae"])
        first = outcome(model, X, REAL)
        second = outcome(compiled(model, optimizer=k.optimizers.Adam(0.05), loss="mae", metrics=["mse"]), X, REAL)
        return [first, second, outcome(model, X, REAL)]

    assert_same_in_both(scenario, keras)


def test_layers_frozen_between_two_fits(keras):
    def scenario(k):
        model = compiled(mlp(k))
        found = [outcome(model, X, REAL)]
        model.layers[0].trainable = False
        found.append(outcome(compiled(model, optimizer="adam"), X, REAL))
        model.layers[0].trainable = True
        return [*found, outcome(compiled(model, optimizer="adam"), X, REAL)]

    assert_same_in_both(scenario, keras)


def test_metrics_are_reset_and_kept(keras):
    def scenario(k):
        model = compiled(mlp(k), metrics=["mae"])
        model.evaluate(X, REAL, verbose=0)
        before = {name: float(value) for name, value in model.get_metrics_result().items()}
        names = [metric.name for metric in model.metrics]
        model.reset_metrics()
        after = {name: float(value) for name, value in model.get_metrics_result().items()}
        return [before, names, after]

    assert_same_in_both(scenario, keras)
