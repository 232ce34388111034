"""Masks of layers in losses and metrics: only the steps that count do, in values, gradients, reports and every form.

What stands at steps that do not count is no label at all: NaN, or a class that there is not.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

import triarch
from triarch import Model, Sequential, layers, losses, metrics, mixed_precision, optimizers, utils

STEPS = 5
LENGTHS = np.array([3, 5, 1, 2])  # of the series; 11 of 20 steps count
COUNTS = np.arange(STEPS) < LENGTHS[:, None]
MEANS = ["sum_over_batch_size", "mean", "mean_with_sample_weight"]


def numbers(rng, *shape):
    return rng.normal(size=shape), rng.normal(size=shape)


def positives(rng, *shape):
    return rng.uniform(0.5, 3, shape), rng.uniform(0.5, 3, shape)


def bits(rng, *shape):
    return rng.integers(0, 2, shape).astype(float), rng.uniform(0.01, 0.99, shape)


def one_hot(rng, *shape):
    return np.eye(shape[-1])[rng.integers(0, shape[-1], shape[:-1])], rng.dirichlet(np.ones(shape[-1]), shape[:-1])


def classes(rng, *shape):
    return rng.integers(0, shape[-1], shape[:-1]), rng.dirichlet(np.ones(shape[-1]), shape[:-1])


ELEMENTWISE = [
    ("MeanSquaredError", {}, numbers),
    ("MeanAbsoluteError", {}, numbers),
    ("MeanAbsolutePercentageError", {}, positives),
    ("MeanSquaredLogarithmicError", {}, positives),
    ("LogCosh", {}, numbers),
    ("Huber", {"delta": 0.4}, numbers),
    ("Hinge", {}, numbers),
    ("SquaredHinge", {}, numbers),
    ("Poisson", {}, positives),
    ("BinaryCrossentropy", {}, bits),
    ("BinaryCrossentropy", {"from_logits": True, "label_smoothing": 0.1}, bits),
    ("BinaryFocalCrossentropy", {"apply_class_balancing": True}, bits),
]
LOSSES = [
    *ELEMENTWISE,
    ("CosineSimilarity", {}, numbers),
    ("CategoricalHinge", {}, one_hot),
    ("KLDivergence", {}, one_hot),
    ("CategoricalCrossentropy", {"label_smoothing": 0.1}, one_hot),
    ("CategoricalCrossentropy", {"from_logits": True}, one_hot),
    ("CategoricalFocalCrossentropy", {}, one_hot),
    ("SparseCategoricalCrossentropy", {}, classes),
    ("SparseCategoricalCrossentropy", {"from_logits": True}, classes),
    ("CategoricalGeneralizedCrossEntropy", {"q": 0.3}, classes),
]
METRICS = [
    *[(name, {}, data) for name, _, data in ELEMENTWISE if name not in ("LogCosh", "Huber", "BinaryFocalCrossentropy")],
    ("LogCoshError", {}, numbers),
    ("RootMeanSquaredError", {}, numbers),
    ("CosineSimilarity", {}, numbers),
    ("PearsonCorrelation", {}, numbers),
    ("ConcordanceCorrelation", {}, numbers),
    ("CategoricalHinge", {}, one_hot),
    ("KLDivergence", {}, one_hot),
    ("CategoricalCrossentropy", {}, one_hot),
    ("SparseCategoricalCrossentropy", {}, classes),
    ("Accuracy", {}, bits),
    ("BinaryAccuracy", {"threshold": 0.4}, bits),
    ("CategoricalAccuracy", {}, one_hot),
    ("SparseCategoricalAccuracy", {}, classes),
    ("TopKCategoricalAccuracy", {"k": 2}, one_hot),
    ("SparseTopKCategoricalAccuracy", {"k": 2}, classes),
    ("TruePositives", {}, bits),
    ("FalsePositives", {"thresholds": [0.3, 0.6]}, bits),
    ("TrueNegatives", {}, bits),
    ("FalseNegatives", {}, bits),
    ("Precision", {"thresholds": 0.3}, bits),
    ("Precision", {"top_k": 1}, one_hot),
    ("Recall", {"class_id": 1}, one_hot),
    ("AUC", {"num_thresholds": 20}, bits),
    ("SensitivityAtSpecificity", {"specificity": 0.4}, bits),
    ("SpecificityAtSensitivity", {"sensitivity": 0.4}, bits),
    ("PrecisionAtRecall", {"recall": 0.6}, bits),
    ("RecallAtPrecision", {"precision": 0.6}, bits),
    ("MeanIoU", {"num_classes": 3, "sparse_y_pred": False, "dtype": "float32"}, classes),
    ("OneHotIoU", {"num_classes": 3, "target_class_ids": [0, 2], "dtype": "float32"}, one_hot),
    ("OneHotMeanIoU", {"num_classes": 3, "dtype": "float32"}, one_hot),
]


def ids(cases):
    return [f"{name}-{'-'.join(options)}" for name, options, _ in cases]


def data_of(make, rng, features=3):
    """Series with zeros behind their ends, and labels that are none there."""
    y, p = make(rng, len(LENGTHS), STEPS, features)
    y[~COUNTS] = -7 if y.dtype.kind == "i" else np.nan
    p[~COUNTS] = 0
    return y if y.dtype.kind == "i" else y.astype("float32"), p.astype("float32")


def passing(features=3, **settings):
    """A model that passes steps on, with a mask."""
    model = Sequential(
        [
            layers.Input((STEPS, features)),
            layers.Masking(),
            layers.Dense(features, use_bias=False, kernel_initializer="identity"),
        ]
    )
    model.compile(optimizers.SGD(1.0), **settings)
    return model


def weights_of(kind, rng):
    """Weights as they are given, and those of the steps that count."""
    if kind == "none":
        return None, None
    weight = rng.uniform(0.5, 2, (4, STEPS) if kind == "steps" else (4,)).astype("float32")
    return weight, (weight if kind == "steps" else np.repeat(weight[:, None], STEPS, 1))[COUNTS]


@pytest.mark.parametrize("weighted", ["none", "samples", "steps"])
@pytest.mark.parametrize(("name", "options", "make"), LOSSES, ids=ids(LOSSES))
def test_loss_and_gradient_are_those_of_the_steps_that_count(name, options, make, weighted, keras, rng):
    y, p = data_of(make, rng)
    weight, counted_weight = weights_of(weighted, rng)
    kernel = torch.eye(3, requires_grad=True)
    judge = getattr(keras.losses, name)(**options)
    expected = judge(torch.tensor(y[COUNTS]), torch.tensor(p[COUNTS]) @ kernel, counted_weight)
    (gradient,) = torch.autograd.grad(expected, kernel)

    found = passing(loss=getattr(losses, name)(**options)).evaluate(p, y, sample_weight=weight, batch_size=4, verbose=0)
    assert found == pytest.approx(expected.item(), rel=1e-4)
    model = passing(loss=getattr(losses, name)(**options))
    history = model.fit(p, y, sample_weight=weight, batch_size=4, shuffle=False, verbose=0).history
    assert history["loss"][0] == pytest.approx(expected.item(), rel=1e-4)
    np.testing.assert_allclose(np.eye(3) - model.get_weights()[0], gradient, rtol=2e-4, atol=2e-6)


@pytest.mark.parametrize("reduction", [*MEANS, "sum", "none"])
@pytest.mark.parametrize(("name", "options", "make"), LOSSES, ids=ids(LOSSES))
def test_every_reduction_leaves_them_out(name, options, make, reduction, keras, rng):
    y, p = data_of(make, rng)
    weight, counted_weight = weights_of("steps", rng)
    found = getattr(losses, name)(reduction=reduction, **options)(torch.tensor(y), passing()(torch.tensor(p)), weight)
    expected = getattr(keras.losses, name)(reduction=reduction, **options)(
        torch.tensor(y[COUNTS]), torch.tensor(p[COUNTS]), counted_weight
    )
    if reduction == "none":
        assert (found[torch.tensor(~COUNTS)] == 0).all()
        found = found[torch.tensor(COUNTS)] if found.shape == COUNTS.shape else found
    torch.testing.assert_close(found.detach(), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "float64"])
@pytest.mark.parametrize(("name", "options", "make"), LOSSES, ids=ids(LOSSES))
def test_casts_keep_the_mask(name, options, make, policy, keras, rng):
    y, p = data_of(make, rng)
    mixed_precision.set_dtype_policy(policy)
    found = passing(loss=getattr(losses, name)(**options)).evaluate(p, y, verbose=0)
    rounded = torch.tensor(p).to(torch.bfloat16).float() if policy != "float64" else torch.tensor(p)
    expected = getattr(keras.losses, name)(**options)(torch.tensor(y[COUNTS]), rounded[torch.tensor(COUNTS)])
    assert found == pytest.approx(expected.item(), rel=1e-4)


@pytest.mark.parametrize("weighted", ["none", "samples", "steps"])
@pytest.mark.parametrize(("name", "options", "make"), METRICS, ids=ids(METRICS))
def test_metrics_are_those_of_the_steps_that_count(name, options, make, weighted, keras, rng):
    y, p = data_of(make, rng)
    weight, counted_weight = weights_of(weighted, rng)
    judge = getattr(keras.metrics, name)(**options)
    judge.update_state(y[COUNTS], p[COUNTS], counted_weight)
    expected = np.asarray(judge.result())
    kind = "metrics" if weighted == "none" else "weighted_metrics"
    if expected.ndim == 0:  # batches of 9 and of 2 steps that count
        ours = [getattr(metrics, name)(name="found", **options)]
        model = passing(loss=lambda y_true, y_pred: y_pred.sum(-1), **{kind: ours})
        found = model.evaluate(p, y, sample_weight=weight, batch_size=3, verbose=0, return_dict=True)["found"]
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    metric = getattr(metrics, name)(**options)
    metric.update_state(torch.tensor(y), passing()(torch.tensor(p)), weight)
    np.testing.assert_allclose(metric.result(), expected, rtol=1e-4, atol=1e-6)


# What is no mean over the last axis of each step.


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("Dice", {}),
        ("Tversky", {"alpha": 0.3, "beta": 0.6}),
        ("Dice", {"axis": (1, 2)}),
        ("Tversky", {"axis": (1, 2)}),
        ("CosineSimilarity", {"axis": 1}),
        ("CosineSimilarity", {"axis": 2}),
    ],
)
def test_regions_are_without_steps_that_do_not_count(name, options, rng):
    y, p = data_of(bits, rng)
    found = getattr(losses, name)(**options)(torch.tensor(y), passing()(torch.tensor(p)))
    loss = getattr(losses, name)(**options)
    if options.get("axis", None) is None:
        right = loss(torch.tensor(y[COUNTS]), torch.tensor(p[COUNTS]))
    elif options["axis"] == 2:
        right = losses.CosineSimilarity()(torch.tensor(y[COUNTS]), torch.tensor(p[COUNTS]))
    else:
        series = [(torch.tensor(y[i : i + 1, :n]), torch.tensor(p[i : i + 1, :n])) for i, n in enumerate(LENGTHS)]
        right = torch.stack([loss(*one) for one in series]).mean()
    torch.testing.assert_close(found.detach(), right)


def test_ctc_takes_the_steps_that_count_as_the_series(rng):
    labels = np.array([[1, 2], [2, 1], [1, 0], [1, 1]])
    logits = rng.normal(size=(4, 7, 3)).astype("float32")
    lengths = [4, 7, 1, 3]
    for i, n in enumerate(lengths):
        logits[i, n:] = 0
    logits[1, 2] = 0  # a gap
    model = Sequential([layers.Input((7, 3)), layers.Masking()])
    found = losses.CTC(reduction=None)(labels, model(torch.tensor(logits)))
    for i in range(4):
        steps = [j for j in range(lengths[i]) if (i, j) != (1, 2)]
        torch.testing.assert_close(found[i], losses.CTC(reduction=None)(labels[i : i + 1], logits[i : i + 1, steps])[0])


class Rows(layers.Layer):
    """One number a step, `(batch, steps)`, which keeps the mask of the steps."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, x):
        return x[..., 0]


@pytest.mark.parametrize(("name", "options", "make"), ELEMENTWISE, ids=ids(ELEMENTWISE))
def test_a_mask_of_the_last_axis_leaves_out_what_the_mean_is_of(name, options, make, keras, rng):
    y, p = data_of(make, rng, features=1)
    loss = getattr(losses, name)(**options)
    model = Sequential([layers.Input((STEPS, 1)), layers.Masking(), Rows()])
    model.compile(loss=loss, metrics=["binary_accuracy"] if make is bits else None)
    found = model.evaluate(p, y[..., 0], verbose=0, return_dict=True)
    right = getattr(keras.losses, name)(**options)(y[COUNTS], p[COUNTS])
    assert found["loss"] == pytest.approx(float(right), rel=1e-4)
    if make is bits:
        assert found["binary_accuracy"] == pytest.approx(np.mean(((p > 0.5) == y)[COUNTS]))


def test_what_a_mask_cannot_leave_out_is_refused(rng):
    y, p = data_of(one_hot, rng)
    for loss in (losses.CategoricalCrossentropy(axis=1), losses.BinaryCrossentropy(axis=1)):
        with pytest.raises(ValueError, match=r"carry a mask of shape \(4, 5\).*along axis=1.*Received"):
            passing(loss=loss).evaluate(p, y, verbose=0)
    with pytest.raises(ValueError, match=r"the mask of the predictions must have the shape.*\(4,\)"):
        passing(loss=lambda y_true, y_pred: (y_true - y_pred).square().mean((1, 2))).evaluate(p, p, verbose=0)
    with pytest.warns(UserWarning, match="one number for the whole batch"):
        passing(loss=lambda y_true, y_pred: (y_true - y_pred).square().mean()).evaluate(p, p, verbose=0)


# Losses and metrics of one's own.


def own_error(y_true, y_pred):
    return (y_true - y_pred).abs().mean(-1)


class OwnLoss(losses.Loss):
    def call(self, y_true, y_pred):
        return own_error(y_true, y_pred)


class OwnMetric(metrics.MeanMetricWrapper):
    def __init__(self, name="own", **kwargs):
        super().__init__(own_error, name=name, **kwargs)


@pytest.mark.parametrize("labels", [(4, STEPS), (4, STEPS, 1)])
@pytest.mark.parametrize("loss", [own_error, OwnLoss()])
def test_ones_own_losses_and_metrics_leave_them_out(loss, labels, rng):
    y, p = data_of(numbers, rng, features=1)
    y = np.where(COUNTS[..., None], y, 99)  # what is multiplied by 0 must be a number
    if labels != y.shape and loss is not own_error:
        pytest.skip("a class of one's own gets the labels as they are")
    own = [] if labels != y.shape else [own_error, OwnMetric()]
    model = passing(1, loss=loss, metrics=own)
    found = model.evaluate(p, y.reshape(labels), batch_size=4, verbose=0)
    np.testing.assert_allclose(found, abs(y - p)[COUNTS].mean() * np.ones(1 + len(own)), rtol=1e-5)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_losses_of_torch_leave_them_out(reduction, rng):
    y, p = data_of(classes, rng)
    found = passing(loss=torch.nn.CrossEntropyLoss()).evaluate(p, y, batch_size=4, verbose=0)
    right = torch.nn.CrossEntropyLoss()(torch.tensor(p[COUNTS]), torch.tensor(y[COUNTS]))
    assert found == pytest.approx(right.item(), rel=1e-5)
    y, p = data_of(numbers, rng)
    y = np.where(COUNTS[..., None], y, 99)
    found = passing(loss=torch.nn.MSELoss(reduction=reduction)).evaluate(p, y, batch_size=4, verbose=0)
    right = torch.nn.MSELoss(reduction="sum" if reduction == "sum" else "mean")
    assert found == pytest.approx(right(torch.tensor(p[COUNTS]), torch.tensor(y[COUNTS])).item(), rel=1e-5)


def test_a_batch_of_which_nothing_counts_has_no_loss(rng):
    x, y = np.zeros((2, STEPS, 3), "float32"), rng.normal(size=(2, STEPS, 3))
    for loss in ("mse", "binary_crossentropy", losses.Dice(), losses.CosineSimilarity(axis=1), torch.nn.MSELoss()):
        model = passing(loss=loss, metrics=["mae"])
        assert model.train_on_batch(x, y)[1] == 0
        np.testing.assert_array_equal(model.get_weights()[0], np.eye(3))


# Whole models.


@pytest.mark.parametrize("loss", ["mse", "binary_crossentropy"])
def test_reports_over_uneven_batches_are_those_of_keras(loss, keras, rng):
    y, p = data_of(one_hot, rng)
    y[~COUNTS] = [0, 0, 1]
    weight = rng.uniform(0.5, 2, (4, STEPS))
    results = []
    for module in (keras, triarch):
        model = module.Sequential(
            [
                module.layers.Input((STEPS, 3)),
                module.layers.Masking(),
                module.layers.Dense(3, use_bias=False, kernel_initializer="identity"),
            ]
        )
        # No weighted metrics: Keras's loss multiplies the mask into the weights in place, before metrics see them.
        model.compile(module.optimizers.SGD(0.1), loss, metrics=["mae", "mse"])
        history = model.fit(
            p, y, sample_weight=weight, batch_size=3, epochs=3, shuffle=False, validation_data=(p, y), verbose=0
        ).history
        results.append((history, model.evaluate(p, y, batch_size=3, verbose=0, sample_weight=weight)))
    (theirs, their_values), (ours, our_values) = results
    assert ours.keys() == theirs.keys()
    for name, values in theirs.items():
        np.testing.assert_allclose(ours[name], values, rtol=1e-4, err_msg=name)
    np.testing.assert_allclose(our_values, their_values, rtol=1e-4)


@pytest.mark.parametrize("recurrent", ["LSTM", "GRU", "Bidirectional"])
@pytest.mark.parametrize("padding", [-1, 2])
def test_what_stands_at_padded_words_changes_nothing(recurrent, padding, rng):
    words = np.array([[1, 2, 3, 0, 0], [4, 0, 0, 0, 0], [1, 1, 1, 1, 1]])
    tags = rng.integers(0, 3, words.shape)
    results = []
    for labels in (tags, np.where(words == 0, padding, tags)):
        utils.set_random_seed(1)
        layer = layers.LSTM(4, return_sequences=True)
        layer = {"LSTM": layer, "Bidirectional": layers.Bidirectional(layer)}.get(recurrent) or layers.GRU(
            4, return_sequences=True
        )
        inputs = layers.Input((5,), dtype="int32")
        outputs = layers.Dense(3, "softmax")(layer(layers.Embedding(5, 3, mask_zero=True)(inputs)))
        model = Model(inputs, {"tags": outputs, "again": layers.Dense(3, "softmax")(outputs)})
        names = ("tags", "again")
        model.compile(
            "adam",
            dict.fromkeys(names, "sparse_categorical_crossentropy"),
            metrics={name: ["accuracy", "sparse_top_k_categorical_accuracy"] for name in names},
        )
        history = model.fit(
            words, dict.fromkeys(names, labels), batch_size=2, epochs=2, shuffle=False, verbose=0
        ).history
        results.append((history, model.get_weights()))
    (history, weights), (other_history, other_weights) = results
    assert history == other_history
    for one, other in zip(weights, other_weights, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("weights", [None, (2,), (2, 3), (2, 3, 4)])
def test_masks_of_words_in_sentences(weights, keras, rng):
    words = rng.integers(0, 4, (2, 3, 4))
    counts, tags = words != 0, rng.integers(0, 3, words.shape)
    inputs = layers.Input((3, 4), dtype="int32")
    model = Model(inputs, layers.Dense(3, "softmax")(layers.Embedding(4, 5, mask_zero=True)(inputs)))
    weight = None if weights is None else rng.uniform(0.5, 2, weights)
    every = None if weights is None else (np.ones(words.shape) * weight.reshape(*weights, *[1] * (3 - len(weights))))
    model.compile(loss="sparse_categorical_crossentropy", weighted_metrics=["accuracy"])
    predicted = model.predict(words, verbose=0)
    expected = keras.losses.SparseCategoricalCrossentropy()(
        tags[counts], predicted[counts], None if every is None else every[counts]
    )
    hits = (predicted.argmax(-1) == tags)[counts]
    found = model.evaluate(words, np.where(counts, tags, -1), sample_weight=weight, verbose=0)
    right = np.average(hits, weights=None if every is None else every[counts])
    np.testing.assert_allclose(found, [float(expected), right], rtol=1e-4)
