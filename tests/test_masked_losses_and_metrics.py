"""Masks of layers in losses and metrics: only the steps that count do, in values, gradients, reports and every form.

What stands at steps that do not count is no label at all: NaN, or a class that there is not.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from triarch import Model, Sequential, layers, losses, metrics, mixed_precision, optimizers

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

    make_loss = lambda: getattr(losses, name)(**options)
    found = passing(loss=make_loss()).evaluate(p, y, sample_weight=weight, batch_size=4, verbose=0)
    assert found == pytest.approx(expected.item(), rel=1e-4)
    model = passing(loss=make_loss())
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
