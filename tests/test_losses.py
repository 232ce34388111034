"""Losses against real Keras: values, gradients, weights, masks, reductions, configs; and what ours do better."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from triarch import activations, losses
from triarch.losses import SparseCategoricalCrossentropy

REDUCTIONS = ["sum_over_batch_size", "mean", "mean_with_sample_weight", "sum", "none", None]


def numbers(rng, shape=(6, 5)):
    return rng.normal(size=shape), rng.normal(size=shape)


def positives(rng, shape=(6, 5)):
    return rng.uniform(0.5, 3, shape), rng.uniform(0.5, 3, shape)


def signs(rng):
    return rng.choice([-1.0, 1.0], (6, 5)), rng.normal(size=(6, 5))


def bits(rng, shape=(6, 5)):
    return rng.integers(0, 2, shape), rng.uniform(0.01, 0.99, shape)


def bits_and_logits(rng):
    return rng.integers(0, 2, (6, 5)), rng.normal(0, 3, (6, 5))


def one_hot(rng):
    return np.eye(5)[rng.integers(0, 5, 6)], rng.uniform(0.1, 1, (6, 5))


def one_hot_and_logits(rng):
    return np.eye(5)[rng.integers(0, 5, 6)], rng.normal(0, 3, (6, 5))


def one_hot_in_the_middle(rng):
    return np.moveaxis(np.eye(5)[rng.integers(0, 5, (6, 3))], -1, 1), rng.uniform(0.1, 1, (6, 5, 3))


def classes(rng):
    return rng.integers(0, 5, 6), rng.uniform(0.1, 1, (6, 5))


def classes_and_logits(rng):
    return rng.integers(0, 5, 6), rng.normal(0, 3, (6, 5))


def column_of_classes(rng):
    return rng.integers(0, 5, (6, 1)), rng.normal(0, 3, (6, 5))


def classes_of_pixels(rng):
    return rng.integers(0, 5, (6, 3, 2)), rng.uniform(0.1, 1, (6, 3, 2, 5))


def classes_first(rng):
    return rng.integers(0, 5, (6, 3)), rng.uniform(0.1, 1, (6, 5, 3))


def distributions(rng):
    a, b = rng.uniform(0.1, 1, (2, 6, 5))
    return a / a.sum(-1, keepdims=True), b / b.sum(-1, keepdims=True)


def embeddings(rng):
    vectors = rng.normal(size=(6, 5))
    return rng.integers(0, 2, 6), vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def sequences(rng):
    return np.array([[1, 2, 2], [3, 1, 0], [4, 0, 0]]), rng.normal(size=(3, 9, 5))


CASES = [
    ("MeanSquaredError", {}, numbers),
    ("MeanAbsoluteError", {}, numbers),
    ("MeanAbsolutePercentageError", {}, numbers),
    ("MeanSquaredLogarithmicError", {}, positives),
    ("LogCosh", {}, numbers),
    ("Huber", {}, numbers),
    ("Huber", {"delta": 0.4}, numbers),
    ("CosineSimilarity", {}, numbers),
    ("CosineSimilarity", {"axis": 0}, numbers),
    ("Hinge", {}, signs),
    ("Hinge", {}, bits),
    ("SquaredHinge", {}, signs),
    ("SquaredHinge", {}, bits),
    ("CategoricalHinge", {}, one_hot),
    ("KLDivergence", {}, distributions),
    ("Poisson", {}, positives),
    ("BinaryCrossentropy", {}, bits),
    ("BinaryCrossentropy", {"label_smoothing": 0.2}, bits),
    ("BinaryCrossentropy", {"from_logits": True, "axis": 0}, bits_and_logits),
    ("BinaryFocalCrossentropy", {}, bits),
    ("BinaryFocalCrossentropy", {"from_logits": True, "label_smoothing": 0.1}, bits_and_logits),
    ("BinaryFocalCrossentropy", {"apply_class_balancing": True, "alpha": 0.3, "gamma": 1.5}, bits),
    ("CategoricalCrossentropy", {}, one_hot),
    ("CategoricalCrossentropy", {"label_smoothing": 0.1}, one_hot),
    ("CategoricalCrossentropy", {"from_logits": True}, one_hot_and_logits),
    ("CategoricalCrossentropy", {"axis": 1}, one_hot_in_the_middle),
    ("CategoricalFocalCrossentropy", {}, one_hot),
    ("CategoricalFocalCrossentropy", {"alpha": [0.1, 0.2, 0.3, 0.4, 0.5], "gamma": 1.0}, one_hot),
    ("CategoricalFocalCrossentropy", {"from_logits": True, "label_smoothing": 0.1}, one_hot_and_logits),
    ("SparseCategoricalCrossentropy", {}, classes),
    ("SparseCategoricalCrossentropy", {"from_logits": True}, classes_and_logits),
    ("SparseCategoricalCrossentropy", {"from_logits": True}, column_of_classes),
    ("SparseCategoricalCrossentropy", {"ignore_class": 2}, classes),
    ("SparseCategoricalCrossentropy", {"ignore_class": 2, "from_logits": True}, classes_and_logits),
    ("SparseCategoricalCrossentropy", {"axis": 1}, classes_first),
    ("CategoricalGeneralizedCrossEntropy", {"q": 0.3}, classes),
    ("Dice", {}, bits),
    ("Dice", {"axis": [1]}, bits),
    ("Tversky", {"alpha": 0.3, "beta": 0.6}, bits),
    ("Tversky", {"axis": 1}, bits),
    ("Circle", {"gamma": 8.0, "margin": 0.3}, embeddings),
    ("Circle", {"gamma": 8.0, "remove_diagonal": False}, embeddings),
    ("CTC", {}, sequences),
]
IDS = [f"{name}-{data.__name__}-{'-'.join(options)}" for name, options, data in CASES]


def data_for(make, rng):
    y_true, y_pred = make(rng)
    dtype = np.int64 if y_true.dtype.kind == "i" and make is not bits else np.float32
    return y_true.astype(dtype), y_pred.astype(np.float32)


def compare(ours, theirs, y_true, y_pred, weight=None, rtol=1e-5):
    results = []
    for loss in (ours, theirs):
        leaf = torch.tensor(y_pred, requires_grad=True)
        value = loss(torch.tensor(y_true), leaf, sample_weight=None if weight is None else torch.tensor(weight))
        value.sum().backward()
        results.append((value.detach(), leaf.grad))
    torch.testing.assert_close(results[0][0], results[1][0], rtol=rtol, atol=1e-6)
    torch.testing.assert_close(results[0][1], results[1][1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize(("name", "options", "make"), CASES, ids=IDS)
def test_values_and_gradients_are_those_of_keras(name, options, make, reduction, keras, rng):
    y_true, y_pred = data_for(make, rng)
    ours = getattr(losses, name)(**options, reduction=reduction)
    theirs = getattr(keras.losses, name)(**options, reduction=reduction)
    compare(ours, theirs, y_true, y_pred)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize(("name", "options", "make"), CASES, ids=IDS)
def test_weights_count_as_in_keras(name, options, make, reduction, keras, rng):
    y_true, y_pred = data_for(make, rng)
    ours = getattr(losses, name)(**options, reduction=reduction)
    theirs = getattr(keras.losses, name)(**options, reduction=reduction)
    shape = getattr(losses, name)(**options, reduction=None)(y_true, y_pred).shape
    compare(ours, theirs, y_true, y_pred, rng.uniform(0, 2, shape).astype("float32"))


@pytest.mark.parametrize(("name", "options", "make"), CASES, ids=IDS)
def test_config_is_that_of_keras_and_goes_round(name, options, make, keras):
    options = {**options, "reduction": "sum", "name": "mine"}
    ours, theirs = getattr(losses, name)(**options), getattr(keras.losses, name)(**options)
    expected = theirs.get_config()
    config = ours.get_config()
    forgotten = {key: options[key] for key in ("delta", "axis") if key in options and key not in expected}
    assert config == {**expected, **forgotten}
    again = losses.deserialize(losses.serialize(ours))
    assert type(again) is type(ours)
    assert again.get_config() == config
    assert type(theirs).from_config(config).get_config() == expected
    for key in ("module", "class_name", "registered_name"):
        assert losses.serialize(ours)[key] == keras.losses.serialize(theirs)[key]


@pytest.mark.parametrize("name", sorted({name for name, _, _ in CASES}))
def test_defaults_are_those_of_keras(name, keras):
    ours, theirs = getattr(losses, name)(), getattr(keras.losses, name)()
    assert (ours.name, ours.reduction, ours.dtype) == (theirs.name, theirs.reduction, theirs.dtype)
    assert ours.get_config() == theirs.get_config()
    names = list(inspect.signature(getattr(keras.losses, name)).parameters)
    assert list(inspect.signature(getattr(losses, name)).parameters) == names


def test_every_spelling_of_keras(keras):
    from keras.src.losses import ALL_OBJECTS_DICT

    for spelling, thing in ALL_OBJECTS_DICT.items():
        if thing.__name__ in ("Loss", "LossFunctionWrapper"):
            continue
        found = losses.get(spelling)
        name = thing.__name__
        assert (type(found).__name__ if isinstance(thing, type) else found.__name__) == name, spelling
    for name in dir(keras.losses):
        assert name.startswith("_") or hasattr(losses, name), name


def test_functions_take_the_arguments_of_keras(keras):
    for name in dir(keras.losses):
        theirs = getattr(keras.losses, name)
        if inspect.isfunction(theirs) and name not in ("deserialize", "get", "serialize"):
            ours = inspect.signature(getattr(losses, name)).parameters
            expected = {k: p.default for k, p in inspect.signature(theirs).parameters.items()}
            assert {k: p.default for k, p in ours.items()} == expected, name


@pytest.mark.parametrize("kind", ["Binary", "Categorical", "SparseCategorical"])
def test_crossentropy_is_also_spelt_with_a_capital_e(kind):
    assert getattr(losses, f"{kind}CrossEntropy") is getattr(losses, f"{kind}Crossentropy")
    assert type(losses.get(f"{kind}CrossEntropy")) is getattr(losses, f"{kind}Crossentropy")


def test_everything_masked_is_zero():
    loss = SparseCategoricalCrossentropy(ignore_class=1, from_logits=True)
    assert loss(torch.ones(4, dtype=torch.int64), torch.randn(4, 3)) == 0


STABLE = [
    (losses.SparseCategoricalCrossentropy, activations.softmax, torch.tensor([1, 0])),
    (losses.CategoricalCrossentropy, activations.softmax, torch.tensor([[0.0, 1.0], [1.0, 0.0]])),
    (losses.BinaryCrossentropy, activations.sigmoid, torch.tensor([[0.0, 1.0], [1.0, 0.0]])),
]


@pytest.mark.parametrize(("cls", "activation", "y_true"), STABLE)
def test_saturated_probabilities_still_have_a_gradient(cls, activation, y_true):
    x = torch.tensor([[200.0, -200.0], [-300.0, 300.0]], requires_grad=True)
    loss = cls()(y_true, activation(x))
    expected = cls(from_logits=True)(y_true, x)
    assert loss == expected
    assert loss > 100
    (gradient,) = torch.autograd.grad(loss, x)
    assert (gradient.abs() > 0.1).all()
    assert cls()(y_true, activation(x).detach().clone()) < 20  # without logits the clipping bounds it


@pytest.mark.parametrize(("cls", "activation", "y_true"), STABLE)
def test_logits_survive_a_change_of_type(cls, activation, y_true):
    x = torch.tensor([[200.0, -200.0], [-300.0, 300.0]], dtype=torch.bfloat16)
    loss = cls()(y_true, activation(x))
    assert loss.dtype is torch.float32
    assert loss == cls(from_logits=True)(y_true, x)


def test_logits_of_another_activation_are_not_used(keras):
    x = torch.randn(6, 5)
    y_true = F.one_hot(torch.arange(6) % 5, 5).float()
    for name, activation in (("CategoricalCrossentropy", "sigmoid"), ("BinaryCrossentropy", "softmax")):
        ours = getattr(losses, name)()(y_true, getattr(activations, activation)(x))
        theirs = getattr(keras.losses, name)()(y_true, getattr(keras.activations, activation)(x))
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum", "none"])
@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8, torch.float32])
def test_the_fused_way_gives_what_the_general_way_gives(reduction, dtype):
    loss = SparseCategoricalCrossentropy(reduction=reduction)
    y_pred = activations.softmax(torch.randn(7, 4, requires_grad=True))
    y_true = (torch.arange(7) % 4).to(dtype)
    torch.testing.assert_close(loss(y_true, y_pred), loss(y_true, y_pred, sample_weight=torch.ones(7)))


@pytest.mark.parametrize("options", [{}, {"ignore_class": 0}, {"from_logits": True}])
def test_class_numbers_of_pixels(options, keras, rng):
    y_true, y_pred = (torch.tensor(array) for array in data_for(classes_of_pixels, rng))
    ours = losses.sparse_categorical_crossentropy(y_true, y_pred, **options)
    torch.testing.assert_close(ours, keras.losses.sparse_categorical_crossentropy(y_true, y_pred, **options))
    # Keras's own gradient fails here, so it is taken from the pixels in a row, which other cases compare with Keras.
    gradients = []
    for shape in ((6, 3, 2), (36,)):
        leaf = y_pred.reshape(*shape, 5).clone().requires_grad_()
        SparseCategoricalCrossentropy(**options)(y_true.reshape(shape), leaf).backward()
        gradients.append(leaf.grad.reshape(36, 5))
    torch.testing.assert_close(*gradients)


def test_weights_of_samples_weigh_all_elements_of_a_sample():
    y_true, y_pred, weight = torch.randn(3, 3, 2), torch.randn(3, 3, 2), torch.tensor([0.0, 1.0, 2.0])
    element_losses = losses.mean_squared_error(y_true, y_pred)
    expected = (element_losses * weight[:, None]).mean()
    torch.testing.assert_close(losses.MeanSquaredError()(y_true, y_pred, weight), expected)


def test_functions_of_users_become_losses(keras):
    def power(y_true, y_pred, exponent=2):
        return (y_true - y_pred).abs() ** exponent

    ours = losses.LossFunctionWrapper(power, exponent=3, name="cubic")
    y_true, y_pred = torch.tensor([1, 2]), torch.tensor([[1.5], [4.0]])
    assert ours(y_true, y_pred) == pytest.approx((0.5**3 + 2**3) / 2)
    with pytest.raises(ValueError, match="lambda or local function"):
        ours.get_config()
    wrapped = losses.LossFunctionWrapper(losses.huber, delta=0.5)
    again = losses.LossFunctionWrapper.from_config(wrapped.get_config())
    assert again(y_true, y_pred) == wrapped(y_true, y_pred) == losses.Huber(0.5)(y_true, y_pred)


def test_users_subclass_loss():
    class Scaled(losses.Loss):
        def __init__(self, scale, **kwargs):
            super().__init__(**kwargs)
            self.scale = scale

        def call(self, y_true, y_pred):
            return self.scale * (y_true - y_pred).abs()

    loss = Scaled(3.0, reduction="sum")
    assert loss.name == "scaled"
    assert loss([1, 2], [2.0, 4.0]) == 9
    assert Scaled.from_config(loss.get_config()).get_config() == {"name": "scaled", "reduction": "sum", "scale": 3.0}


def test_arrays_lists_and_other_types_are_accepted():
    assert losses.MeanSquaredError()([[0, 1]], [[1, 1]]) == 0.5
    assert losses.mean_squared_error(np.array([0.0, 2.0]), np.array([1.0, 2.0])) == 0.5
    assert losses.BinaryCrossentropy(dtype="float64")([[1.0]], [[0.5]]).dtype is torch.float64
    assert SparseCategoricalCrossentropy()([0, 1], [[0.5, 0.5], [0.5, 0.5]]) == pytest.approx(np.log(2))


def test_empty_batches_have_no_loss():
    assert losses.MeanSquaredError()(torch.zeros(0, 3, 2), torch.zeros(0, 3, 2)) == 0
    assert (
        SparseCategoricalCrossentropy(from_logits=True)(torch.zeros(0, 3, dtype=torch.int64), torch.zeros(0, 3, 4)) == 0
    )


def _labels(wrong):
    return torch.tensor([0, wrong, 2])


@pytest.mark.parametrize("wrong", [3, -1, -100])
@pytest.mark.parametrize(
    "evaluate",
    [
        lambda y: SparseCategoricalCrossentropy()(y, activations.softmax(torch.randn(3, 3))),
        lambda y: SparseCategoricalCrossentropy(from_logits=True)(y, torch.randn(3, 3), torch.ones(3)),
        lambda y: SparseCategoricalCrossentropy(ignore_class=7)(y, torch.rand(3, 3)),
        lambda y: losses.sparse_categorical_crossentropy(y.reshape(3, 1), torch.rand(3, 3)),
        lambda y: losses.check_labels(y, 3),
    ],
)
def test_a_label_out_of_range_is_named(wrong, evaluate):
    with pytest.raises(ValueError, match=rf"must lie in \[0, 3\).*Received: {wrong}\."):
        evaluate(_labels(wrong))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: losses.MeanSquaredError(reduction="total"), r"reduction must be one of .*Received: 'total'"),
        (lambda: losses.mean_squared_error(torch.ones(3, 2), torch.ones(3, 4)), r"y_true.shape=\(3, 2\)"),
        (lambda: losses.categorical_crossentropy(torch.ones(3), torch.ones(3, 4)), r"use sparse_categorical"),
        (lambda: losses.sparse_categorical_crossentropy(torch.ones(3, 4), torch.ones(3, 4)), r"use categorical"),
        (
            lambda: SparseCategoricalCrossentropy(from_logits=True)(torch.ones(4), torch.ones(3, 4)),
            r"labels of shape \(3,\).*Received: y_true.shape=\(4,\)",
        ),
        (lambda: losses.binary_crossentropy(torch.ones(3, 1), torch.ones(3, 4)), r"y_pred.shape=\(3, 4\)"),
        (lambda: losses.categorical_crossentropy(torch.ones(3, 4), torch.ones(3, 4), axis=True), r"axis must be"),
        (lambda: losses.ctc(torch.ones(3), torch.ones(3, 4)), r"y_true.shape=\(3,\)"),
        (lambda: losses.CategoricalGeneralizedCrossEntropy(q=1), r"q must lie between 0 and 1. Received: 1"),
        (lambda: losses.MeanSquaredError()(torch.ones(3, 2), torch.ones(3, 2), torch.ones(4)), r"sample_weight must"),
        (lambda: losses.get("mean_square_error"), r"Did you mean 'mean_squared_error'"),
    ],
)
def test_errors_name_what_came(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("activation", "loss"),
    [
        (activations.softmax, losses.sparse_categorical_crossentropy),
        (activations.softmax, SparseCategoricalCrossentropy()),
        (activations.softmax, losses.categorical_crossentropy),
        (activations.sigmoid, losses.binary_crossentropy),
        (activations.sigmoid, losses.BinaryCrossentropy(dtype="float64")),
    ],
)
def test_logits_of_predictions_that_were_overwritten_do_not_count(activation, loss):
    logits = torch.tensor([[2.0, -1.0, 0.5], [0.1, 0.2, 0.3]])
    labels = torch.tensor([0, 2]) if "sparse" in str(loss).lower() else torch.eye(3)[:2]
    predictions = activation(logits)
    assert torch.allclose(loss(labels, predictions), loss(labels, predictions.clone()))
    predictions.copy_(torch.full((2, 3), 0.25))
    assert torch.equal(loss(labels, predictions), loss(labels, torch.full((2, 3), 0.25)))
    with torch.inference_mode():
        assert torch.isfinite(loss(labels, activation(logits * 1000))).all()


@pytest.mark.parametrize("options", [{}, {"ignore_class": 1}, {"axis": 1}, {"from_logits": True}])
@pytest.mark.parametrize("weight", [None, torch.tensor([1.0, 2.0])])
def test_the_fused_sparse_loss_is_the_other(rng, options, weight):
    """What goes through one operation equals what goes through the function."""
    scores = torch.from_numpy(rng.normal(size=(2, 3))).float()
    predictions = scores if options.get("from_logits") else activations.softmax(scores)
    labels = torch.tensor([0, 2])
    elements = losses.sparse_categorical_crossentropy(labels, predictions, **options)
    expected = (elements * (1 if weight is None else weight)).mean()
    assert torch.allclose(SparseCategoricalCrossentropy(**options)(labels, predictions, weight), expected)
