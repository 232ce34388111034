"""Metrics against real Keras over several batches, with weights, masks and configs; and where their state lives."""

from __future__ import annotations

import copy
import inspect

import numpy as np
import pytest
import torch

from triarch import losses, metrics, registry


def numbers(rng):
    return rng.normal(size=(8, 3)), rng.normal(size=(8, 3))


def positives(rng):
    return rng.uniform(0.5, 3, (8, 3)), rng.uniform(0.5, 3, (8, 3))


def signs(rng):
    return rng.choice([-1.0, 1.0], (8, 3)), rng.normal(size=(8, 3))


def integers(rng):
    return rng.integers(0, 3, (8, 1)), rng.integers(0, 3, (8, 1))


def bits(rng):
    return rng.integers(0, 2, (8, 3)), rng.uniform(size=(8, 3))


def flat_bits(rng):
    return rng.integers(0, 2, 20), rng.uniform(size=20)


def bits_and_logits(rng):
    return rng.integers(0, 2, (8, 3)), rng.normal(size=(8, 3))


def one_hot(rng):
    return np.eye(7)[rng.integers(0, 7, 8)], rng.dirichlet(np.ones(7), 8)


def one_hot_of_steps(rng):
    return np.eye(7)[rng.integers(0, 7, (8, 4))], rng.dirichlet(np.ones(7), (8, 4))


def classes(rng):
    return rng.integers(0, 7, 8), rng.dirichlet(np.ones(7), 8)


def column_of_classes(rng):
    return rng.integers(0, 7, (8, 1)), rng.dirichlet(np.ones(7), 8)


def classes_of_steps(rng):
    return rng.integers(0, 7, (8, 4)), rng.dirichlet(np.ones(7), (8, 4))


def sorted_ids(rng):
    return rng.integers(0, 7, 8), rng.permuted(np.tile(np.arange(7), (8, 1)), axis=1)


def two_classes_of_pixels(rng):
    return rng.integers(0, 2, (4, 3, 3)), rng.uniform(size=(4, 3, 3))


def classes_of_pixels(rng):
    return rng.integers(-1, 5, (4, 3, 3)), rng.integers(0, 4, (4, 3, 3))


def scores_of_pixels(rng):
    return rng.integers(0, 4, (4, 3, 3)), rng.uniform(size=(4, 3, 3, 4))


def one_hot_pixels(rng):
    return np.eye(4)[rng.integers(0, 4, (4, 3, 3))], rng.uniform(size=(4, 3, 3, 4))


GRID = [0.0, 0.25, 0.5, 0.75, 1.0]
CASES = [
    ("MeanSquaredError", {}, numbers),
    ("RootMeanSquaredError", {}, numbers),
    ("MeanAbsoluteError", {}, numbers),
    ("MeanAbsolutePercentageError", {}, numbers),
    ("MeanSquaredLogarithmicError", {}, positives),
    ("CosineSimilarity", {}, numbers),
    ("LogCoshError", {}, numbers),
    ("PearsonCorrelation", {}, numbers),
    ("ConcordanceCorrelation", {}, numbers),
    ("R2Score", {}, numbers),
    ("R2Score", {"class_aggregation": None}, numbers),
    ("R2Score", {"class_aggregation": "variance_weighted_average", "num_regressors": 2}, numbers),
    ("Hinge", {}, signs),
    ("SquaredHinge", {}, signs),
    ("CategoricalHinge", {}, one_hot),
    ("KLDivergence", {}, one_hot),
    ("Poisson", {}, positives),
    ("BinaryCrossentropy", {}, bits),
    ("BinaryCrossentropy", {"from_logits": True, "label_smoothing": 0.1}, bits_and_logits),
    ("CategoricalCrossentropy", {}, one_hot),
    ("CategoricalCrossentropy", {"from_logits": True, "label_smoothing": 0.1}, one_hot),
    ("SparseCategoricalCrossentropy", {}, classes),
    ("SparseCategoricalCrossentropy", {"ignore_class": 2, "from_logits": True}, classes),
    ("Accuracy", {}, integers),
    ("BinaryAccuracy", {}, bits),
    ("BinaryAccuracy", {"threshold": 0.3}, flat_bits),
    ("CategoricalAccuracy", {}, one_hot),
    ("CategoricalAccuracy", {}, one_hot_of_steps),
    ("SparseCategoricalAccuracy", {}, classes),
    ("SparseCategoricalAccuracy", {}, column_of_classes),
    ("SparseCategoricalAccuracy", {}, classes_of_steps),
    ("TopKCategoricalAccuracy", {"k": 3}, one_hot),
    ("TopKCategoricalAccuracy", {"k": 2}, one_hot_of_steps),
    ("SparseTopKCategoricalAccuracy", {"k": 3}, classes),
    ("SparseTopKCategoricalAccuracy", {"k": 2}, classes_of_steps),
    ("SparseTopKCategoricalAccuracy", {"k": 2, "from_sorted_ids": True}, sorted_ids),
    *[
        (name, options, data)
        for name in ("TruePositives", "FalsePositives", "TrueNegatives", "FalseNegatives")
        for options, data in (({}, bits), ({"thresholds": [0.2, 0.7]}, flat_bits), ({"thresholds": GRID}, bits))
    ],
    *[
        (name, options, data)
        for name in ("Precision", "Recall")
        for options, data in (
            ({}, bits),
            ({"thresholds": 0.3}, flat_bits),
            ({"thresholds": [0.2, 0.7]}, bits),
            ({"thresholds": GRID}, flat_bits),
            ({"top_k": 2}, one_hot),
            ({"class_id": 1}, one_hot),
            ({"class_id": 1, "top_k": 3}, one_hot),
        )
    ],
    ("SensitivityAtSpecificity", {"specificity": 0.4}, bits),
    ("SensitivityAtSpecificity", {"specificity": 0.4, "num_thresholds": 1}, bits),
    ("SpecificityAtSensitivity", {"sensitivity": 0.4, "num_thresholds": 20}, flat_bits),
    ("PrecisionAtRecall", {"recall": 0.6}, bits),
    ("RecallAtPrecision", {"precision": 0.6, "class_id": 2}, one_hot),
    ("AUC", {}, flat_bits),
    ("AUC", {"from_logits": True, "num_thresholds": 50}, bits_and_logits),
    ("AUC", {"thresholds": [0.2, 0.5, 0.6]}, bits),
    ("AUC", {"label_weights": [0.2, 0.3, 0.9]}, bits),
    ("AUC", {"multi_label": True}, bits),
    ("AUC", {"multi_label": True, "num_labels": 3, "label_weights": [0.2, 0.3, 0.9], "curve": "PR"}, bits),
    ("AUC", {"multi_label": True, "thresholds": [0.25, 0.5, 0.75]}, bits),
    *[
        ("AUC", {"curve": curve, "summation_method": method}, bits)
        for curve in ("ROC", "PR", "PRGAIN")
        for method in ("interpolation", "majoring", "minoring")
    ],
    *[("F1Score", {"average": average}, one_hot) for average in (None, "micro", "macro", "weighted")],
    ("F1Score", {"threshold": 0.3}, bits),
    ("FBetaScore", {"beta": 2.0, "average": "weighted"}, one_hot),
    ("MeanIoU", {"num_classes": 4}, classes_of_pixels),
    ("MeanIoU", {"num_classes": 4, "ignore_class": 1, "sparse_y_pred": False}, scores_of_pixels),
    ("IoU", {"num_classes": 4, "target_class_ids": [0, 2]}, classes_of_pixels),
    ("BinaryIoU", {"threshold": 0.3}, two_classes_of_pixels),
    ("BinaryIoU", {"target_class_ids": [1]}, two_classes_of_pixels),
    ("OneHotIoU", {"num_classes": 4, "target_class_ids": [1, 3]}, one_hot_pixels),
    ("OneHotMeanIoU", {"num_classes": 4}, one_hot_pixels),
]
IDS = [f"{name}-{data.__name__}-{'-'.join(map(str, options.values()))}" for name, options, data in CASES]
NAMES = sorted({name for name, _, _ in CASES} | {"Mean", "Sum"})


def batches(make, rng, count=3):
    for _ in range(count):
        y_true, y_pred = make(rng)
        yield tuple(a.astype("int64" if a.dtype.kind == "i" else "float32") for a in (y_true, y_pred))


def ones(name, options):
    """Weights with which Keras leaves out the labels to ignore; without any it takes them for right ones."""
    return [np.ones(8)] if name == "SparseCategoricalCrossentropy" and "ignore_class" in options else []


@pytest.mark.parametrize(("name", "options", "make"), CASES, ids=IDS)
def test_results_are_those_of_keras(name, options, make, keras, rng):
    ours, theirs = getattr(metrics, name)(**options), getattr(keras.metrics, name)(**options)
    for y_true, y_pred in batches(make, rng):
        result = ours(torch.tensor(y_true), torch.tensor(y_pred, requires_grad=y_pred.dtype.kind == "f"))
        theirs.update_state(y_true, y_pred, *ones(name, options))
        assert not result.requires_grad
        np.testing.assert_allclose(result, theirs.result(), rtol=1e-5, atol=1e-6)
    ours.reset_state()
    assert all((variable == 0).all() for variable in ours.variables)
    theirs.reset_state()
    y_true, y_pred = next(batches(make, rng))
    expected = theirs(y_true, y_pred, *ones(name, options))
    np.testing.assert_allclose(ours(y_true, y_pred), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "options", "make"), CASES, ids=IDS)
def test_weights_count_as_in_keras(name, options, make, keras, rng):
    whole = "IoU" in name  # its counts are whole numbers
    ours, theirs = getattr(metrics, name)(**options), getattr(keras.metrics, name)(**options)
    for y_true, y_pred in batches(make, rng):
        shape = y_true.shape if whole and "OneHot" not in name else y_pred.shape[:-1] if whole else y_true.shape[:1]
        weight = rng.integers(0, 3, shape) if whole else rng.uniform(0, 2, shape).astype("float32")
        ours.update_state(torch.tensor(y_true), torch.tensor(y_pred), sample_weight=torch.tensor(weight))
        theirs.update_state(y_true, y_pred, sample_weight=weight)
    np.testing.assert_allclose(ours.result(), theirs.result(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "options", "make"), CASES, ids=IDS)
def test_config_is_that_of_keras_and_goes_round(name, options, make, keras):
    keras.utils.clear_session(free_memory=False)  # automatic names start anew
    ours, theirs = getattr(metrics, name)(**options), getattr(keras.metrics, name)(**options)
    config, expected = ours.get_config(), theirs.get_config()
    expected["dtype"] = {"int": "int32"}.get(expected["dtype"], expected["dtype"])
    weights = expected.get("label_weights")
    if weights is not None:
        expected["label_weights"] = pytest.approx(weights.tolist())
    if "target_class_ids" in expected:
        config["target_class_ids"] = list(config["target_class_ids"])
    assert config == expected
    again = metrics.deserialize(metrics.serialize(ours))
    assert type(again) is type(ours)
    assert again.get_config() == ours.get_config()
    for key in ("module", "class_name", "registered_name"):
        assert metrics.serialize(ours)[key] == keras.metrics.serialize(theirs)[key]


@pytest.mark.parametrize("name", NAMES)
def test_arguments_are_those_of_keras(name, keras):
    expected = list(inspect.signature(getattr(keras.metrics, name)).parameters)
    assert list(inspect.signature(getattr(metrics, name)).parameters) == expected


@pytest.mark.parametrize("name", ["Mean", "Sum"])
@pytest.mark.parametrize("shape", [(), (5,), (5, 3), (5, 3, 2)])
@pytest.mark.parametrize("weighted", [False, True])
def test_means_and_sums(name, shape, weighted, keras, rng):
    ours, theirs = getattr(metrics, name)(), getattr(keras.metrics, name)()
    for _ in range(3):
        values = rng.normal(size=shape).astype("float32")
        weight = rng.uniform(size=shape[:1]).astype("float32") if weighted else None
        ours.update_state(torch.tensor(values), weight)
        theirs.update_state(values, weight)
    np.testing.assert_allclose(ours.result(), theirs.result(), rtol=1e-5)


def test_every_spelling_of_keras(keras):
    from keras.src.metrics import ALL_OBJECTS_DICT

    for spelling, cls in ALL_OBJECTS_DICT.items():
        assert registry.find("keras.metrics", spelling).__name__ == cls.__name__, spelling
    for name in dir(keras.metrics):
        assert name.startswith("_") or hasattr(metrics, name), name


@pytest.mark.parametrize(
    ("spelling", "cls"),
    [
        ("acc", metrics.Accuracy),
        ("accuracy", metrics.Accuracy),
        ("mse", metrics.MeanSquaredError),
        ("mean_squared_error", metrics.MeanSquaredError),
        ("SparseCategoricalCrossEntropy", metrics.SparseCategoricalCrossentropy),
        ("mean_iou", metrics.MeanIoU),
    ],
)
def test_spellings(spelling, cls):
    assert registry.lookup("keras.metrics", spelling) is cls
    assert metrics.get(None) is None


FUNCTIONS = [
    ("binary_accuracy", {"threshold": 0.3}, bits),
    ("categorical_accuracy", {}, one_hot_of_steps),
    ("sparse_categorical_accuracy", {}, column_of_classes),
    ("sparse_categorical_accuracy", {}, classes_of_steps),
    ("top_k_categorical_accuracy", {"k": 2}, one_hot_of_steps),
    ("sparse_top_k_categorical_accuracy", {"k": 2}, classes_of_steps),
    ("pearson_correlation", {"axis": 0}, numbers),
    ("concordance_correlation", {"axis": 0}, numbers),
]


@pytest.mark.parametrize(("name", "options", "make"), FUNCTIONS)
def test_functions_are_those_of_keras(name, options, make, keras, rng):
    y_true, y_pred = next(batches(make, rng))
    ours, theirs = getattr(metrics, name)(y_true, y_pred, **options), getattr(keras.metrics, name)
    expected = theirs(y_true, y_pred, **options)
    assert ours.dtype is torch.float32
    torch.testing.assert_close(ours, expected)
    assert inspect.signature(getattr(metrics, name)).parameters.keys() == inspect.signature(theirs).parameters.keys()


def test_top_k_of_fewer_classes_is_always_right():
    assert metrics.sparse_top_k_categorical_accuracy([0, 2], [[0.5, 0.3, 0.2], [0.5, 0.3, 0.2]]).tolist() == [1, 1]


def test_state_is_untrainable_variables_with_names():
    metric = metrics.MeanSquaredError(name="error")
    assert [variable.path for variable in metric.variables] == ["error/total", "error/count"]
    assert not any(variable.trainable for variable in metric.variables)


def test_state_follows_the_data_to_its_device():
    devices = []

    class Moved(metrics.Mean):
        def to(self, device):
            devices.append(device.type)
            self._device = device

        def update_state(self, values):
            pass

    metric = Moved()
    metric.update_state(torch.ones(3))
    metric.update_state(torch.ones(3, device="meta"))
    metric.update_state(torch.ones(3, device="meta"))
    assert devices == ["meta"]


def test_copies_have_a_state_of_their_own():
    metric = metrics.Mean()
    metric.update_state(4.0)
    copied = copy.deepcopy(metric)
    copied.update_state(8.0)
    assert (metric.result(), copied.result()) == (4, 6)
    assert copied.variables[0] is copied.total


def test_users_subclass_metric():
    class Largest(metrics.Metric):
        def __init__(self, name="largest", **kwargs):
            super().__init__(name=name, **kwargs)
            self.inner = metrics.Sum()
            self.largest = self.add_weight(name="largest", initializer="zeros")

        def update_state(self, y_true, y_pred, sample_weight=None):
            self.largest.assign(torch.maximum(self.largest, y_pred.amax()))
            self.inner.update_state(y_pred)

        def result(self):
            return self.largest

    metric = Largest()
    prediction = torch.tensor([1.0, 5.0, 2.0], requires_grad=True)
    assert metric(None, prediction) == 5
    assert len(metric.variables) == 2
    assert not metric.inner.result().requires_grad
    metric.reset_state()
    assert metric.result() == 0
    assert metric.inner.result() == 0
    assert Largest.from_config(metric.get_config()).get_config() == {"dtype": "float32", "name": "largest"}


def test_functions_become_metrics():
    wrapped = metrics.MeanMetricWrapper(losses.huber, name="h", delta=0.5)
    again = metrics.MeanMetricWrapper.from_config(wrapped.get_config())
    y_true, y_pred = torch.randn(4, 2), torch.randn(4, 2)
    assert again(y_true, y_pred) == wrapped(y_true, y_pred)
    wrapped = metrics.MeanMetricWrapper(metrics.binary_accuracy, threshold=0.2)
    assert metrics.deserialize(metrics.serialize(wrapped)).fn is metrics.binary_accuracy


def test_fractions_of_weights_are_not_lost_silently():
    metric = metrics.MeanIoU(2)
    with pytest.warns(UserWarning, match="counts in int32"):
        metric.update_state([0, 1], [0, 1], sample_weight=[0.5, 1.5])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: metrics.Precision(thresholds=[0.5, 1.5]), r"lie in \[0, 1\]. Received: \[1.5\]"),
        (lambda: metrics.Precision()(torch.ones(3, 2), torch.ones(3, 4)), r"y_true.shape=\(3, 2\)"),
        (lambda: metrics.Recall(class_id=1)(torch.ones(3), torch.ones(3)), r"class_id needs.*\(3,\)"),
        (lambda: metrics.AUC(curve="ROCK"), r"Received: 'ROCK'"),
        (lambda: metrics.AUC(summation_method="all"), r"Received: 'all'"),
        (lambda: metrics.AUC(num_thresholds=1), r"Received: 1"),
        (lambda: metrics.AUC(num_labels=3), r"multi_label=True only"),
        (lambda: metrics.AUC(multi_label=True)(torch.ones(3), torch.ones(3)), r"Received: y_pred.shape=\(3,\)"),
        (lambda: metrics.SensitivityAtSpecificity(1.2), r"specificity must lie in \[0, 1\]. Received: 1.2"),
        (lambda: metrics.PrecisionAtRecall(0.5, num_thresholds=0), r"Received: 0"),
        (lambda: metrics.FBetaScore(beta=1), r"beta must be a positive float. Received: 1"),
        (lambda: metrics.F1Score(average="mean"), r"Received: 'mean'"),
        (lambda: metrics.F1Score(threshold=2.0), r"Received: 2.0"),
        (lambda: metrics.F1Score()(torch.ones(3), torch.ones(3)), r"F1Score needs .*\(3,\)"),
        (lambda: metrics.IoU(2, [2]), r"lie in \[0, 2\). Received: \[2\]"),
        (lambda: metrics.MeanIoU(2)([0, 1], [0]), r"y_true.shape=\(2,\), y_pred.shape=\(1,\)"),
        (lambda: metrics.R2Score(class_aggregation="sum"), r"Received: 'sum'"),
        (lambda: metrics.R2Score(num_regressors=-1), r"Received: -1"),
        (lambda: metrics.R2Score()(torch.ones(3), torch.ones(3)), r"Received: y_true.shape=\(3,\)"),
        (lambda: metrics.SparseCategoricalAccuracy()(torch.ones(3, 2), torch.ones(3, 4)), r"y_true.shape=\(3, 2\)"),
        (lambda: metrics.get("acuracy"), r"Did you mean 'accuracy'"),
    ],
)
def test_errors_name_what_came(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_metric_that_does_not_call_super_is_told():
    class Hasty(metrics.Metric):
        def __init__(self):
            self.total = self.add_weight(name="total")

    with pytest.raises(RuntimeError, match=r"must call `super\(\).__init__\(\)`"):
        Hasty()


def test_keywords_move_the_state_to_the_device_of_the_data(monkeypatch):
    class Ignoring(metrics.Metric):
        def update_state(self, y_true, y_pred):
            pass

    metric, moved = Ignoring(), []
    monkeypatch.setattr(metric, "to", moved.append)
    metric.update_state(y_true=[1, 2], y_pred=torch.ones(2, device="meta"))
    assert moved == [torch.device("meta")]
