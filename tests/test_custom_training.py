"""Training as users of Keras on torch write it themselves."""

import numpy as np
import pytest
import torch

import triarch as keras
from triarch import layers

RNG = np.random.default_rng(0)
X = RNG.random((40, 4), dtype="float32")
Y = (X.sum(1) > 2).astype("int64")


class Net(keras.Model):
    def __init__(self, **options):
        super().__init__(**options)
        self.hidden = layers.Dense(8, activation="tanh")
        self.dropout = layers.Dropout(0.0)
        self.head = layers.Dense(2)

    def call(self, inputs, training=None):
        return self.head(self.dropout(self.hidden(inputs), training=training))


def compiled(cls=Net):
    keras.utils.set_random_seed(3)
    model = cls()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1), loss, metrics=["accuracy"])
    return model


def fitted_weights(model):
    model.fit(X, Y, batch_size=10, epochs=2, shuffle=False, verbose=0)
    return model.get_weights()


def assert_same(first, second):
    for one, other in zip(first, second, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7)


def test_an_overridden_train_step_learns_the_same():
    class Custom(Net):
        def train_step(self, data):
            x, y = data[0], data[1]
            y_pred = self(x, training=True)
            loss = self.compute_loss(y=y, y_pred=y_pred)
            self.zero_grad()
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

    keras.utils.set_random_seed(3)
    model = Custom()
    accuracy = keras.metrics.SparseCategoricalAccuracy(name="accuracy")
    model.own_accuracy = accuracy
    model.compile(keras.optimizers.SGD(0.1), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    assert_same(fitted_weights(model), fitted_weights(compiled()))
    assert set(model.history.history) == {"loss", "accuracy"}


def test_steps_with_own_trackers_and_logs():
    class Custom(Net):
        def __init__(self):
            super().__init__()
            self.tracker = keras.metrics.Mean(name="my_loss")

        def train_step(self, data):
            loss = self(data, training=True).square().mean()  # x alone comes as it is
            self.zero_grad()
            loss.backward()
            with torch.no_grad():
                self.optimizer.apply([w.grad for w in self.trainable_weights], self.trainable_weights)
            self.tracker.update_state(loss)
            return {"my_loss": self.tracker.result()}

        def test_step(self, data):
            self.tracker.update_state(self(data[0], training=False).abs().mean())
            return {"my_loss": self.tracker.result()}

        def predict_step(self, data):
            return super().predict_step(data) * 0 + 5

        @property
        def metrics(self):
            return [self.tracker]

    model = Custom()
    model.compile(optimizer="adam")
    history = model.fit(X, epochs=3, validation_data=(X,) * 2, verbose=0).history
    assert set(history) == {"my_loss", "val_my_loss"}
    assert history["my_loss"][-1] < history["my_loss"][0]
    assert (model.predict(X, verbose=0) == 5).all()


def test_compute_loss_and_compute_metrics_overridden():
    class Custom(Net):
        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            return 2 * super().compute_loss(x, y, y_pred, sample_weight, training)

        def compute_metrics(self, x, y, y_pred, sample_weight=None):
            logs = dict(super().compute_metrics(x, y, y_pred, sample_weight))
            logs["largest"] = y_pred.max()
            return logs

    model, plain = compiled(Custom), compiled()
    doubled = model.fit(X, Y, batch_size=40, verbose=0).history
    single = plain.fit(X, Y, batch_size=40, verbose=0).history
    assert doubled["loss"][0] == pytest.approx(2 * single["loss"][0])
    assert set(doubled) == {"loss", "accuracy", "largest"}


def test_an_overridden_train_function():
    class Custom(Net):
        def make_train_function(self, force=False):
            super().make_train_function(force)
            inner = self.train_function
            self.calls = 0

            def counted(data):
                self.calls += 1
                return inner(data)

            self.train_function = counted
            return counted

    model = compiled(Custom)
    model.fit(X, Y, batch_size=10, verbose=0)
    assert model.calls == 4


@pytest.mark.parametrize("kind", ["triarch", "torch"])
def test_a_hand_written_loop(kind):
    expected = fitted_weights(compiled())
    keras.utils.set_random_seed(3)
    model = Net()
    model(X)
    loss_fn = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    accuracy = keras.metrics.SparseCategoricalAccuracy()
    optimizer = keras.optimizers.SGD(0.1) if kind == "triarch" else torch.optim.SGD(model.parameters(), lr=0.1)
    data = torch.utils.data.TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))
    for _ in range(2):
        for inputs, targets in torch.utils.data.DataLoader(data, batch_size=10):
            logits = model(inputs, training=True)
            loss = loss_fn(targets, logits)
            model.zero_grad()
            loss.backward()
            if kind == "triarch":
                gradients = [v.value.grad for v in model.trainable_weights]
                with torch.no_grad():
                    optimizer.apply(gradients, model.trainable_weights)
            else:
                optimizer.step()
            accuracy.update_state(targets, logits)
    assert 0 <= float(accuracy.result()) <= 1
    assert_same(model.get_weights(), expected)
    assert [w.path.split("/")[-1] for w in model.trainable_weights] == ["kernel", "bias"] * 2
    assert model.non_trainable_weights == []


def test_frozen_layers_stay():
    model = compiled()
    model.build((None, 4))
    model.hidden.trainable = False
    before = model.get_weights()
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(X, Y, verbose=0)
    after = model.get_weights()
    assert_same(before[:2], after[:2])
    assert not np.allclose(before[2], after[2])


def test_fit_sees_layers_thawed_between_two_fits():
    model = compiled()
    model.build((None, 4))
    model.hidden.trainable = False
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(X, Y, verbose=0)
    model.hidden.trainable = True
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    before = model.get_weights()
    model.fit(X, Y, verbose=0)
    assert not np.allclose(before[0], model.get_weights()[0])


def test_a_torch_optimizer_in_an_overridden_step():
    class Custom(Net):
        def train_step(self, data):
            x, y = data
            self.optimizer.zero_grad()
            loss = self.compute_loss(y=y, y_pred=self(x, training=True))
            loss.backward()
            self.optimizer.step()
            return {"loss": loss}

    keras.utils.set_random_seed(3)
    model = Custom()
    model.build((None, 4))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(torch.optim.SGD(model.parameters(), lr=0.1), loss)
    assert_same(fitted_weights(model), fitted_weights(compiled()))
    with pytest.warns(UserWarning, match="no compile settings"):
        assert model.get_compile_config() is None


def test_constraints_hold_with_a_torch_optimizer():
    layer = layers.Dense(1, kernel_constraint="non_neg")
    model = keras.Sequential([layers.Input((4,)), layer])
    model.compile(torch.optim.SGD(model.parameters(), lr=1.0), "mse")
    model.fit(X, -Y, epochs=2, verbose=0)
    assert float(layer.kernel.detach().min()) >= 0


def test_evaluation_inside_training_leaves_the_mode():
    seen = []

    class Watching(Net):
        def call(self, inputs, training=None):
            seen.append(training)
            return super().call(inputs, training=training)

    class Predicting(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.predict(X[:2], verbose=0)

    model = Watching()
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(X, Y, batch_size=20, verbose=0, callbacks=[Predicting()])
    assert seen[-4:] == [True, False, True, False]
    model.train()
    model.predict(X, verbose=0)
    assert model.training
