"""Loops that callbacks start inside a loop leave its counts, history, flags and training mode as they were."""

import numpy as np
import pytest

import triarch
from triarch import kernels, layers

RNG = np.random.default_rng(0)
X = RNG.standard_normal((12, 3)).astype("float32")
Y = RNG.standard_normal((12, 1)).astype("float32")
FAR = (np.full((4, 3), 50.0, "float32"), np.full((4, 1), -50.0, "float32"))
TRAIN_HOOKS = (
    "on_train_begin",
    "on_epoch_begin",
    "on_train_batch_begin",
    "on_train_batch_end",
    "on_test_begin",
    "on_test_batch_begin",
    "on_test_batch_end",
    "on_test_end",
    "on_epoch_end",
    "on_train_end",
)
TEST_HOOKS = ("on_test_begin", "on_test_batch_begin", "on_test_batch_end", "on_test_end")
PREDICT_HOOKS = ("on_predict_begin", "on_predict_batch_begin", "on_predict_batch_end", "on_predict_end")


def stack():
    """Goes by whole steps, where there are many of them."""
    return triarch.Sequential([layers.Input((3,)), layers.Dense(4, activation="relu"), layers.Dense(1)])


def graph():
    inputs = triarch.Input((3,))
    hidden = layers.LayerNormalization()(layers.Dense(4, activation="tanh")(inputs))
    return triarch.Model(inputs, layers.Dense(1)(layers.Dropout(0.0)(hidden)))


class OwnStep(triarch.Model):
    """Counts in metrics of its own, one of which keeps its state in Python."""

    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(1)
        self.seen = Seen(name="seen")
        self.mean = triarch.metrics.Mean(name="own")

    def call(self, inputs):
        return self.dense(inputs)

    def train_step(self, data):
        logs = super().train_step(data)
        self.seen.update_state(data[0])
        self.mean.update_state(data[1])
        return logs

    def test_step(self, data):
        logs = super().test_step(data)
        self.seen.update_state(data[0])
        self.mean.update_state(data[1])
        return logs


class Seen(triarch.metrics.Metric):
    """How many samples went by, and how many batches."""

    def __init__(self, name=None):
        super().__init__(name=name)
        self.count, self.sizes = 0, []

    def update_state(self, x, sample_weight=None):
        self.count += len(x)
        self.sizes.append(len(x))

    def result(self):
        return triarch.ops.convert_to_tensor(self.count + 100.0 * len(self.sizes))

    def reset_state(self):
        self.count, self.sizes = 0, []


MODELS = {"stack": stack, "whole steps": stack, "graph": graph, "own step": OwnStep}


def made(kind, rate=0.0, **options):
    triarch.utils.set_random_seed(3)
    model = MODELS[kind]()
    metrics = None if kind == "whole steps" else ["mae"]  # the kernel has no such metric
    settings = {"optimizer": triarch.optimizers.SGD(rate), "loss": "mse", "metrics": metrics}
    model.compile(**(settings | options))
    return model


class Look(triarch.callbacks.Callback):
    """Does something in one hook, and keeps what the others are told."""

    def __init__(self, hook=None, action=None):
        self.seen, self.modes, self.results = [], [], []
        if hook is not None:
            own = getattr(self, hook)

            def look(*args, **kwargs):
                own(*args, **kwargs)
                before = self._state()
                self.results.append(action(self.model))
                assert self._state() == before

            setattr(self, hook, look)

    def _state(self):
        model = self.model
        flags = (model.stop_training, model.stop_evaluating, model.stop_predicting)
        return id(model.history), flags, [module.training for module in model.modules()]

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append({name: value for name, value in logs.items() if name != "learning_rate"})
        self.modes.append(self.model.training)

    def on_test_batch_end(self, batch, logs=None):
        self.seen.append(dict(logs))
        self.modes.append(self.model.training)

    def on_predict_batch_end(self, batch, logs=None):
        self.modes.append(self.model.training)


class Nested(triarch.callbacks.Callback):
    """Evaluates in a batch hook of an evaluation, and so on, several deep."""

    def __init__(self, depth):
        self.depth = depth

    def on_test_batch_end(self, batch, logs=None):
        callbacks = [Nested(self.depth - 1)] if self.depth else []
        self.model.evaluate(*FAR, batch_size=3, callbacks=callbacks, verbose=0)


class Stopping(triarch.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        self.model.stop_training = True

    def on_test_batch_end(self, batch, logs=None):
        self.model.stop_evaluating = True

    def on_predict_batch_end(self, batch, logs=None):
        self.model.stop_predicting = True


def another_with_its_layers(model):
    """A second model of the same layers, in inference."""
    other = triarch.Sequential([layers.Input((3,)), *model.layers[-1:]]) if len(model.layers) == 1 else None
    if other is None:
        inputs = triarch.Input((3,))
        other = triarch.Model(inputs, model(inputs))
    other.compile("sgd", "mse", metrics=["mae"])
    return other.evaluate(*FAR, verbose=0)


ACTIONS = {
    "evaluate": lambda model: model.evaluate(*FAR, verbose=0, return_dict=True),
    "predict": lambda model: model.predict(FAR[0], verbose=0),
    "fit": lambda model: model.fit(*FAR, epochs=2, validation_data=FAR, verbose=0).history,
    "train_on_batch": lambda model: model.train_on_batch(*FAR),
    "test_on_batch": lambda model: model.test_on_batch(*FAR),
    "predict_on_batch": lambda model: model.predict_on_batch(FAR[0]),
    "several deep": lambda model: model.evaluate(*FAR, batch_size=1, callbacks=[Nested(2)], verbose=0),
    "evaluation that stops": lambda model: model.evaluate(*FAR, batch_size=1, callbacks=[Stopping()], verbose=0),
    "prediction that stops": lambda model: model.predict(FAR[0], batch_size=1, callbacks=[Stopping()], verbose=0),
    "training that stops": lambda model: model.fit(*FAR, batch_size=1, callbacks=[Stopping()], verbose=0).history,
    "a second model": another_with_its_layers,
}


def run(kind, outer, look):
    """What the outer loop reports."""
    model = made(kind)
    model.predict(X[:2], verbose=0)  # builds it
    with kernels.expecting(10**9 if kind == "whole steps" else 1):
        return reported(model, outer, look)


def reported(model, outer, look):
    if outer == "fit":
        history = model.fit(
            X, Y, batch_size=4, epochs=2, validation_data=(X[:6], Y[:6]), callbacks=[look], shuffle=False, verbose=0
        )
        assert history is model.history
        return history.history
    if outer == "evaluate":
        return {"values": model.evaluate(X, Y, batch_size=4, callbacks=[look], verbose=0)}
    return {"values": model.predict(X, batch_size=4, callbacks=[look], verbose=0)}


HOOKS = {"fit": TRAIN_HOOKS, "evaluate": TEST_HOOKS, "predict": PREDICT_HOOKS}


FEW = ("evaluate", "fit", "test_on_batch", "several deep")  # for models that take their time
CASES = [
    (kind, outer, action)
    for kind in MODELS
    for outer in HOOKS
    for action in ACTIONS
    if kind in ("stack", "own step") or action in FEW
]


@pytest.mark.parametrize(("kind", "outer", "action"), CASES)
def test_the_outer_loop_goes_on_as_if_nothing_had_been(kind, outer, action):
    plain = Look()
    right = run(kind, outer, plain)
    for hook in HOOKS[outer]:
        look = Look(hook, ACTIONS[action])
        found = run(kind, outer, look)
        assert look.results, hook
        assert found.keys() == right.keys(), hook
        for name, value in right.items():
            np.testing.assert_allclose(found[name], value, rtol=1e-5, err_msg=f"{name} with {action} in {hook}")
        assert look.modes == plain.modes, hook
        for step, (given, wanted) in enumerate(zip(look.seen, plain.seen, strict=True)):
            assert given == pytest.approx(wanted, rel=1e-5), f"{hook}, logs of batch {step}"


def test_a_model_compiled_anew_in_a_hook_learns_as_it_was_told():
    class Compiling(triarch.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                self.model.layers[0].trainable = False
                self.model.compile(triarch.optimizers.SGD(0.5), "mae", metrics=["mse"])

    def learnt(in_hook, expected_calls):
        model = made("stack", rate=0.1)
        options = {"batch_size": 4, "shuffle": False, "verbose": 0}
        with kernels.expecting(expected_calls):
            if in_hook:
                model.fit(X, Y, epochs=2, callbacks=[Compiling()], **options)
            else:
                model.fit(X, Y, epochs=1, **options)
                Compiling().set_model(model)
                model.layers[0].trainable = False
                model.compile(triarch.optimizers.SGD(0.5), "mae", metrics=["mse"])
                model.fit(X, Y, initial_epoch=1, epochs=2, **options)
        last = {name: values[-1] for name, values in model.history.history.items() if name in ("loss", "mse")}
        return last, model.get_weights()

    for expected_calls in (1, 10**9):
        (last, weights), (right, expected) = learnt(True, expected_calls), learnt(False, expected_calls)
        assert last == pytest.approx(right, rel=1e-5)
        for found, wanted in zip(weights, expected, strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_a_loop_that_fails_inside_a_hook_leaves_the_counts_alone():
    class Failing(triarch.callbacks.Callback):
        failures = 0

        def on_train_batch_end(self, batch, logs=None):
            with pytest.raises(ValueError, match="expects"):
                self.model.evaluate(iter([FAR, (FAR[0][:, :2], FAR[1])]), verbose=0)
            self.failures += 1

    model, failing = made("stack"), Failing()
    history = model.fit(X, Y, batch_size=4, callbacks=[failing], verbose=0).history
    assert failing.failures == 3
    assert history["loss"][0] == pytest.approx(model.evaluate(X, Y, verbose=0)[0], rel=1e-5)


def test_another_model_keeps_what_it_found():
    class Other(triarch.callbacks.Callback):
        def __init__(self):
            self.other = made("graph")

        def on_train_batch_end(self, batch, logs=None):
            found = self.other.evaluate(*FAR, verbose=0)
            assert [float(value) for value in self.other.get_metrics_result().values()] == pytest.approx(found)
            assert self.other.fit(*FAR, verbose=0) is self.other.history

    made("stack").fit(X, Y, batch_size=4, callbacks=[Other()], verbose=0)


def test_training_in_a_hook_of_an_evaluation_learns():
    class Training(triarch.callbacks.Callback):
        def on_test_batch_end(self, batch, logs=None):
            self.model.train_on_batch(X, Y)

    model, other = made("graph", rate=0.1), made("graph", rate=0.1)
    model.evaluate(X, Y, batch_size=6, callbacks=[Training()], verbose=0)
    other.train_on_batch(X, Y)
    other.train_on_batch(X, Y)
    for found, wanted in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-6)
