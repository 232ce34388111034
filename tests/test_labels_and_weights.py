"""Shapes of labels and weights: which go with which predictions, what each weighs, and what is refused in words."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from triarch import Model, Sequential, kernels, layers, losses, metrics, ops, optimizers, utils

DENSE = [  # labels and predictions are of the same shape
    *("MeanSquaredError", "MeanAbsoluteError", "MeanAbsolutePercentageError", "MeanSquaredLogarithmicError", "LogCosh"),
    *("Huber", "Hinge", "SquaredHinge", "Poisson", "BinaryCrossentropy", "BinaryFocalCrossentropy"),
    *("CosineSimilarity", "CategoricalHinge", "KLDivergence", "Dice", "Tversky"),
]
ELEMENTWISE = DENSE[:11]
ONE_HOT = ["CategoricalCrossentropy", "CategoricalFocalCrossentropy"]
SPARSE = ["SparseCategoricalCrossentropy", "CategoricalGeneralizedCrossEntropy"]
DENSE_METRICS = [
    *("MeanSquaredError", "MeanAbsoluteError", "MeanAbsolutePercentageError", "MeanSquaredLogarithmicError"),
    *("RootMeanSquaredError", "LogCoshError", "Hinge", "SquaredHinge", "Poisson", "BinaryCrossentropy", "KLDivergence"),
    *("CategoricalHinge", "CosineSimilarity", "PearsonCorrelation", "ConcordanceCorrelation", "Accuracy"),
    *("BinaryAccuracy", "TruePositives", "FalsePositives", "TrueNegatives", "FalseNegatives", "Precision", "Recall"),
    *("AUC", "BinaryIoU"),
]
ONE_HOT_METRICS = ["CategoricalAccuracy", "TopKCategoricalAccuracy", "CategoricalCrossentropy"]
SPARSE_METRICS = ["SparseCategoricalAccuracy", "SparseTopKCategoricalAccuracy", "SparseCategoricalCrossentropy"]
SIZES = (1, 3)
OUTPUTS = [shape for rank in (1, 2, 3) for shape in itertools.product(SIZES, repeat=rank)]
LABELS = [shape for rank in (1, 2, 3) for shape in itertools.product((*SIZES, 4), repeat=rank)]


def same(labels, outputs):
    return labels == outputs or (*labels, 1) == outputs or labels == (*outputs, 1)


def exactly(labels, outputs):
    return labels == outputs


def class_numbers(labels, outputs):
    return labels in (outputs[:-1], (*outputs[:-1], 1))


FAMILIES = [
    *[(losses, name, same) for name in DENSE],
    *[(losses, name, exactly) for name in ONE_HOT],
    *[(losses, name, class_numbers) for name in SPARSE],
    *[(metrics, name, same) for name in DENSE_METRICS],
    *[(metrics, name, exactly) for name in ONE_HOT_METRICS],
    *[(metrics, name, class_numbers) for name in SPARSE_METRICS],
]


@pytest.mark.parametrize(
    ("module", "name", "go_together"),
    FAMILIES,
    ids=[f"{module.__name__.rpartition('.')[2]}.{name}" for module, name, _ in FAMILIES],
)
@pytest.mark.filterwarnings("ignore:The categorical cross-entropy of a single class")
def test_labels_have_the_shape_of_the_predictions_or_are_refused(module, name, go_together, rng):
    make = getattr(module, name)
    for outputs, labels in itertools.product(OUTPUTS, LABELS):
        y_pred = torch.tensor(rng.uniform(0.1, 0.9, outputs), dtype=torch.float32)
        y_true = torch.zeros(labels, dtype=torch.int64 if go_together is class_numbers else torch.float32)
        what = f"labels {labels} for outputs {outputs}"
        if not go_together(labels, outputs):
            with pytest.raises(ValueError, match="Received"):
                pytest.fail(f"{what} are taken: {make()(y_true, y_pred)}")
            continue
        if go_together is same:
            y_true = torch.tensor(rng.integers(0, 2, labels), dtype=torch.float32)
            shape = (*outputs, 1) if len(outputs) == 1 and labels != outputs else outputs  # a column of samples
            right = make()(y_true.reshape(shape), y_pred.reshape(shape))
            torch.testing.assert_close(make()(y_true, y_pred), right, msg=what, equal_nan=True)
        else:
            make()(y_true, y_pred)


TORCH_LOSSES = [torch.nn.MSELoss, torch.nn.L1Loss, torch.nn.SmoothL1Loss, torch.nn.BCEWithLogitsLoss]


def passing(*shape, **settings):
    """A model whose outputs are its inputs."""
    model = Sequential([layers.Input(shape), layers.Dense(shape[-1], use_bias=False, kernel_initializer="identity")])
    model.compile(optimizers.SGD(0.0), **settings)
    return model


@pytest.mark.parametrize("steps", [1, 20_000])  # of which many are worth whole steps
@pytest.mark.parametrize("loss", ["mse", "mae", "binary_crossentropy", "crossentropy", *TORCH_LOSSES])
def test_fit_and_evaluate_refuse_them_too(loss, steps, rng):
    for units, labels in itertools.product((1, 3), [(3,), (3, 1), (3, 3), (3, 1, 1), (3, 3, 1), (3, 1, 3)]):
        y = rng.integers(0, 2, labels).astype("float32")
        model = passing(units, loss=loss if isinstance(loss, str) else loss())
        is_right = same(labels, (3, units))
        if loss == "crossentropy" and units > 1:
            is_right = labels in [(3,), (3, 1), (3, 3)]
        x = rng.uniform(0.1, 0.9, (3, units)).astype("float32")
        if steps > 1 and loss != "crossentropy":  # what the labels are is settled by the first ones
            with kernels.expecting(steps):
                model.fit(x, x, epochs=3, verbose=0)
        for run in (model.fit, model.evaluate):
            with kernels.expecting(steps):
                if is_right:
                    run(x, y, verbose=0)
                else:
                    with pytest.raises(ValueError, match="Received"):
                        pytest.fail(f"{labels} for {units} outputs: {run(x, y, verbose=0)}")


# Weights.


@pytest.mark.parametrize("name", ELEMENTWISE)
@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "mean_with_sample_weight", "sum"])
def test_steps_weigh_what_they_are_given_however_labels_are_shaped(name, reduction, rng):
    for outputs, labels in [((4, 5, 1), (4, 5, 1)), ((4, 5, 1), (4, 5)), ((4, 5, 3), (4, 5, 3)), ((4, 5), (4, 5))]:
        y_true = torch.tensor(rng.integers(0, 2, labels), dtype=torch.float32)
        y_pred = torch.tensor(rng.uniform(0.1, 0.9, outputs), dtype=torch.float32)
        single = getattr(losses, name)(reduction=None)(y_true.reshape(-1, 1), y_pred.reshape(-1, 1)).reshape(outputs)
        for weights in [(4,), (4, 1), (4, 5), (4, 5, 1), outputs]:
            if len(weights) > len(outputs) or (len(outputs) == 2 and weights == (4, 5, 1)):
                continue
            weight = torch.tensor(rng.uniform(0.5, 2, weights), dtype=torch.float32)
            every = weight.reshape(*weights, *[1] * (len(outputs) - len(weights))).expand(outputs)
            total = (single * every).sum()
            right = {
                "sum_over_batch_size": total / single.numel(),
                "mean_with_sample_weight": total / every.sum(),
                "sum": total / outputs[-1],
            }[reduction]
            found = getattr(losses, name)(reduction=reduction)(y_true, y_pred, weight)
            torch.testing.assert_close(found, right, msg=f"labels {labels}, outputs {outputs}, weights {weights}")


@pytest.mark.parametrize("name", DENSE_METRICS)
def test_metrics_weigh_steps_as_given(name, rng):
    if name in ("KLDivergence", "CategoricalHinge", "CosineSimilarity", "PearsonCorrelation", "ConcordanceCorrelation"):
        pytest.skip("these look at all that lies along the last axis")
    options = {"dtype": "float32"} if name == "BinaryIoU" else {}
    for outputs, labels in [((4, 5, 1), (4, 5, 1)), ((4, 5, 1), (4, 5)), ((4, 5), (4, 5))]:
        y_true = torch.tensor(rng.integers(0, 2, labels), dtype=torch.float32)
        y_pred = torch.tensor(rng.uniform(0.1, 0.9, outputs), dtype=torch.float32)
        for weights in [(4,), (4, 5), outputs]:
            weight = torch.tensor(rng.uniform(0.5, 2, weights), dtype=torch.float32)
            every = weight.reshape(*weights, *[1] * (len(outputs) - len(weights))).expand(outputs)
            found = getattr(metrics, name)(**options)(y_true, y_pred, sample_weight=weight)
            right = getattr(metrics, name)(**options)(
                y_true.reshape(-1, 1), y_pred.reshape(-1, 1), sample_weight=every.reshape(-1)
            )
            torch.testing.assert_close(found, right, msg=f"labels {labels}, outputs {outputs}, weights {weights}")


@pytest.mark.parametrize("name", [*ELEMENTWISE, "KLDivergence", "CategoricalCrossentropy"])
def test_weights_of_other_shapes_are_refused(name, rng):
    y_pred = torch.tensor(rng.dirichlet(np.ones(3), (3, 3)), dtype=torch.float32)
    for weights in [(1,), (4,), (1, 3), (3, 4), (4, 1), (3, 3, 4), (1, 1, 1), (3, 3, 3, 1)]:
        with pytest.raises(ValueError, match=r"sample_weight.*Received"):
            pytest.fail(f"{weights}: {getattr(losses, name)()(y_pred, y_pred, torch.ones(weights))}")


def test_a_loss_that_is_one_number_cannot_be_weighed_by_sample(rng):
    model = passing(2, loss=lambda y_true, y_pred: ops.mean(ops.square(y_true - y_pred)))
    with pytest.raises(ValueError, match="One number for the whole batch cannot be weighed"):
        model.evaluate(np.ones((3, 2)), np.ones((3, 2)), sample_weight=np.ones(3), verbose=0)


# One number a sample.


class Row(Model):
    def call(self, x):
        return x[:, 0]


class Column(Model):
    def call(self, x):
        return x


@pytest.mark.parametrize("labels", [(7,), (7, 1)])
@pytest.mark.parametrize("batch_size", [7, 4, 2, 1])
def test_outputs_of_one_number_a_sample_are_samples(labels, batch_size, rng):
    x, y = rng.uniform(0.1, 0.9, (7, 1)).astype("float32"), rng.integers(0, 2, 7)
    weight = rng.uniform(0.5, 2, 7)
    found = []
    for kind in (Row, Column):
        for loss in [*DENSE[:-2], "crossentropy", torch.nn.MSELoss()]:
            model = kind()
            own = {} if isinstance(loss, torch.nn.Module) else {"sample_weight": weight}
            model.compile(loss=loss, metrics=["accuracy", *DENSE_METRICS], weighted_metrics=["acc", "mse", "AUC"])
            model.evaluate(x, y.reshape(labels), batch_size=batch_size, verbose=0, **own)
            found.append(model.evaluate(x, y.reshape(labels), batch_size=batch_size, verbose=0, **own))
    half = len(found) // 2
    np.testing.assert_allclose(found[:half], found[half:], rtol=1e-5, atol=1e-6)


# Class weights.


def model_for(loss, units, steps=None, activation=None):
    """A model whose outputs are all 0 before the activation."""
    axes = () if steps is None else steps if isinstance(steps, tuple) else (steps,)
    inputs = layers.Input((*axes, 1))
    model = Model(inputs, layers.Dense(units, activation, kernel_initializer="zeros")(inputs))
    model.compile(optimizers.SGD(0.0), loss, weighted_metrics=["mae"] if loss == "hinge" else None)
    return model


LOG2, LOG3 = np.log(2.0), np.log(3.0)
EYE = np.eye(3)
CLASS_WEIGHTS = {  # what makes the model, labels, class weights, loss
    "two classes": (("hinge", 1), [-1, -1, -1, 1], {-1: 5, 1: 1}, 16 / 4),
    "in a column": (("hinge", 1), [[-1], [-1], [-1], [1]], {-1: 5.0}, 16 / 4),
    "floats": (("hinge", 1), [-1.0, 1.0], {-1.0: 5.0, 1: 3}, 8 / 2),
    "NumPy's numbers": (("hinge", 1), [-1, 1], {np.int64(-1): np.float32(5), np.int8(1): np.int32(3)}, 8 / 2),
    "booleans": (("binary_crossentropy", 1, None, "sigmoid"), [True, False], {1: 3.0}, LOG2 * 4 / 2),
    "no class": (("hinge", 1), [-1, 1], {}, 1.0),
    "a class that is not there": (("hinge", 1), [-1, 1], {7: 100.0, -9: 100.0}, 1.0),
    "large numbers": (("hinge", 1), [2**40, 1], {2**40: 3.0}, None),
    "sparse": (("sparse_categorical_crossentropy", 3, None, "softmax"), [0, 1, 2, 2], {1: 7.0}, LOG3 * 10 / 4),
    "one-hot": (("categorical_crossentropy", 3, None, "softmax"), EYE[[0, 0, 2]], {2: 4.0}, LOG3 * 6 / 3),
    "soft": (("categorical_crossentropy", 3, None, "softmax"), EYE[[0, 2]] * 0.7 + 0.1, {2: 4.0}, LOG3 * 5 / 2),
    "one-hot for another loss": (("mse", 3), EYE[[0, 0, 2]], {2: 4.0}, 6 / 9),
    "steps": (("sparse_categorical_crossentropy", 3, 2, "softmax"), [[0, 1], [1, 1]], {1: 4.0}, LOG3 * 13 / 4),
    "steps in a column": (
        ("sparse_categorical_crossentropy", 3, 2, "softmax"), [[[0], [1]], [[1], [1]]], {1: 4.0}, LOG3 * 13 / 4
    ),
    "steps that look one-hot": (("binary_crossentropy", 1, 2, "sigmoid"), [[0, 1], [1, 0]], {1: 4.0}, LOG2 * 10 / 4),
    "pixels": (("binary_crossentropy", 1, (2, 2), "sigmoid"), [[[[0], [1]], [[1], [1]]]], {1: 4.0}, LOG2 * 13 / 4),
    "pixels without a last axis": (
        ("binary_crossentropy", 1, (2, 2), "sigmoid"), [[[0, 1], [1, 1]]], {1: 4.0}, LOG2 * 13 / 4
    ),
    "pixels of classes": (
        ("sparse_categorical_crossentropy", 3, (2, 2), "softmax"), [[[0, 1], [1, 2]]], {1: 4.0}, LOG3 * 10 / 4
    ),
    "one-hot pixels": (
        ("categorical_crossentropy", 3, (2, 2), "softmax"), [[EYE[[0, 1]], EYE[[1, 1]]]], {1: 4.0}, LOG3 * 13 / 4
    ),
    "one-hot steps": (("categorical_crossentropy", 3, 2, "softmax"), [EYE[[0, 1]]], {1: 4.0}, LOG3 * 5 / 2),
}  # fmt: skip


def batches_of(x, y):
    class Batches(utils.PyDataset):
        def __len__(self):
            return 1

        def __getitem__(self, index):
            return x, y

    return Batches()


FORMS = {
    "arrays": lambda model, x, y, **kw: model.fit(x, y, batch_size=len(y), verbose=0, **kw).history["loss"][0],
    "tensors": lambda model, x, y, **kw: model.fit(
        torch.tensor(x), torch.tensor(y), batch_size=len(y), verbose=0, **kw
    ).history["loss"][0],
    "a generator": lambda model, x, y, **kw: model.fit(iter([(x, y)]), verbose=0, **kw).history["loss"][0],
    "a PyDataset": lambda model, x, y, **kw: model.fit(batches_of(x, y), verbose=0, **kw).history["loss"][0],
    "a batch": lambda model, x, y, **kw: model.train_on_batch(x, y, return_dict=True, **kw)["loss"],
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("case", CLASS_WEIGHTS)
def test_classes_weigh_what_they_are_given(case, form):
    (loss, units, *more), labels, class_weight, right = CLASS_WEIGHTS[case]
    y = np.array(labels)
    model = model_for(loss, units, *more)
    x = np.ones((len(y), *model.input_shape[1:]), "float32")
    found = FORMS[form](model, x, y, class_weight=class_weight)
    assert right is None or found == pytest.approx(right, rel=1e-5)


@pytest.mark.parametrize(
    ("class_weight", "labels", "message"),
    [
        ({0: 1.0, 1: 10.0}, [[0, 1, 1], [0, 1, 0]], "name one class for each sample"),
        ({0: 1.0, 1: 10.0}, [[0, 0, 0], [0, 1, 0]], "name one class for each sample"),
        ([1.0, 2.0], [[0, 1, 0]], "must be a dict"),
        ({"a": 1.0}, [[0, 1, 0]], "whole class numbers"),
        ({0.5: 1.0}, [[0, 1, 0]], "whole class numbers"),
        ({0: np.nan}, [[0, 1, 0]], "finite numbers"),
        ({0: "heavy"}, [[0, 1, 0]], "finite numbers"),
    ],
)
@pytest.mark.parametrize("form", FORMS)
def test_what_names_no_class_is_refused(class_weight, labels, message, form):
    model = model_for("binary_crossentropy", 3, None, "sigmoid")
    with pytest.raises(ValueError, match=rf"`class_weight`.*{message}.*Received"):
        FORMS[form](model, np.ones((len(labels), 1), "float32"), np.array(labels), class_weight=class_weight)


@pytest.mark.parametrize("form", FORMS)
def test_two_kinds_of_weights_are_refused(form):
    x, y, weight = np.ones((2, 1), "float32"), np.array([0, 1]), np.array([2.0, 1.0])
    ways = {
        "arrays": lambda m, **kw: m.fit(x, y, sample_weight=weight, **kw),
        "tensors": lambda m, **kw: m.fit(torch.tensor(x), torch.tensor(y), sample_weight=torch.tensor(weight), **kw),
        "a generator": lambda m, **kw: m.fit(iter([(x, y, weight)]), **kw),
        "a PyDataset": lambda m, **kw: m.fit(WeightedBatches(), **kw),
        "a batch": lambda m, **kw: m.train_on_batch(x, y, weight, **kw),
    }
    with pytest.raises(ValueError, match="`class_weight` or `sample_weight`, not both"):
        ways[form](model_for("binary_crossentropy", 1, None, "sigmoid"), class_weight={1: 3.0})


class WeightedBatches(utils.PyDataset):
    def __len__(self):
        return 1

    def __getitem__(self, index):
        return np.ones((2, 1)), np.array([0, 1]), np.ones(2)


def test_class_weights_of_training_do_not_weigh_what_validates(rng):
    x, y = np.ones((8, 1), "float32"), np.array([-1, 1] * 4)
    history = (
        model_for("hinge", 1).fit(x, y, validation_split=0.5, class_weight={-1: 5.0}, batch_size=4, verbose=0).history
    )
    assert history["loss"] == [3.0]
    assert history["val_loss"] == [1.0]


def test_class_weights_reach_weighted_metrics():
    history = model_for("hinge", 1).fit(np.ones((2, 1)), np.array([-3, 1]), class_weight={-3: 9.0}, verbose=0).history
    assert history["mae"] == pytest.approx([(9 * 3 + 1) / 10])


def test_several_outputs_have_no_class_weight():
    inputs = layers.Input((1,))
    model = Model(inputs, {"a": layers.Dense(1, name="a")(inputs), "b": layers.Dense(1, name="b")(inputs)})
    model.compile("sgd", "mse")
    y = {"a": np.ones(2), "b": np.ones(2)}
    with pytest.raises(ValueError, match="`class_weight` needs a model with one output"):
        model.fit(np.ones((2, 1)), y, class_weight={1: 2.0}, verbose=0)


# Labels that are missing.


def known_mse(y_true, y_pred):
    known = ~ops.isnan(y_true)
    error = ops.where(known, y_pred - ops.where(known, y_true, 0.0), 0.0)
    return ops.sum(error * error, axis=-1) / ops.maximum(ops.sum(ops.cast(known, "float32"), axis=-1), 1.0)


class KnownError(losses.Loss):
    def call(self, y_true, y_pred):
        return known_mse(y_true, y_pred)


MISSING = np.array([[0.0, np.nan], [np.nan, 5.0]], "float32")


@pytest.mark.parametrize("loss", [known_mse, KnownError()])
@pytest.mark.parametrize("form", FORMS)
def test_a_loss_of_ones_own_may_leave_missing_labels_out(loss, form):
    model = passing(2, loss=loss)
    model.optimizer.learning_rate = 0.1
    assert FORMS[form](model, np.ones((2, 2), "float32"), MISSING) == pytest.approx((1 + 16) / 2)
    assert np.isfinite(model.get_weights()[0]).all()
    assert model.evaluate(np.ones((2, 2)), MISSING, verbose=0) < 8.5


@pytest.mark.parametrize("form", FORMS)
def test_labels_that_no_loss_leaves_out_are_told_before_a_weight_changes(form):
    model = passing(2, loss="mse")
    model.optimizer.learning_rate = 0.1
    with pytest.raises(ValueError, match=r"The loss is nan: y holds 2 NaN or infinite values.*\(0, 1\)"):
        FORMS[form](model, np.ones((2, 2), "float32"), MISSING)
    np.testing.assert_array_equal(model.get_weights()[0], np.eye(2))


def test_data_that_are_not_finite_are_told_before_a_good_batch_is_learnt(rng):
    x = rng.normal(size=(8, 2)).astype("float32")
    bad = x.copy()
    bad[7, 1] = np.nan
    for options in ({"y": bad}, {"y": x, "validation_data": (x, bad)}, {"y": x, "validation_data": (bad, x)}):
        model = passing(2, loss="mse")
        model.optimizer.learning_rate = 0.1
        with pytest.raises(ValueError, match=r"The loss is nan: [xy] holds 1 NaN.*\(7, 1\)"):
            model.fit(x, batch_size=2, shuffle=False, verbose=0, **options)
        np.testing.assert_array_equal(model.get_weights()[0], np.eye(2))


def test_a_gradient_that_is_not_finite_is_told_before_a_weight_changes():
    def forgetful(y_true, y_pred):
        known = ~ops.isnan(y_true)
        return ops.sum(ops.where(known, ops.square(y_pred - y_true), 0.0), axis=-1)

    model = passing(2, loss=forgetful)
    model.optimizer.learning_rate = 0.1
    with pytest.raises(ValueError, match=r"gradients are not finite.*y holds 2 NaN.*ops\.where"):
        model.fit(np.ones((2, 2)), MISSING, verbose=0)
    np.testing.assert_array_equal(model.get_weights()[0], np.eye(2))


@pytest.mark.parametrize("form", FORMS)
def test_numbers_missing_in_x_may_be_filled_in_by_a_layer(form):
    inputs = layers.Input((2,))
    outputs = layers.Dense(2, use_bias=False, kernel_initializer="identity")(layers.Lambda(ops.nan_to_num)(inputs))
    model = Model(inputs, outputs)
    model.compile(optimizers.SGD(0.1), "mse")
    assert FORMS[form](model, np.array([[1.0, np.nan]], "float32"), np.zeros((1, 2), "float32")) == 0.5
    np.testing.assert_allclose(model.get_weights()[0], [[0.9, 0], [0, 1]])
