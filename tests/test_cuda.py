"""What must hold on a CUDA device too; skipped where there is none."""

import numpy as np
import pytest
import torch

import triarch
from triarch import config, layers

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no CUDA device")

RNG = np.random.default_rng(0)
IMAGES = RNG.random((96, 8, 8, 1), dtype="float32")
LABELS = (IMAGES.mean((1, 2, 3)) > 0.5).astype("int64")


@pytest.fixture(autouse=True)
def _cuda():
    config.set_device("cuda")
    yield
    config.set_device("cpu")


def network(**options):
    triarch.utils.set_random_seed(3)
    model = triarch.Sequential(
        [
            layers.Input((8, 8, 1)),
            layers.Conv2D(8, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            torch.nn.Linear(128, 16),
            layers.Dropout(0.2),
            layers.Dense(2, activation="softmax"),
        ]
    )
    settings = {"optimizer": "adam", "loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"]}
    model.compile(**(settings | options))
    return model


def test_weights_and_predictions_agree_with_the_cpu():
    model = network()
    assert {weight.device.type for weight in model.weights} == {"cuda"}
    on_cuda = model.predict(IMAGES, verbose=0)
    model.to("cpu")
    np.testing.assert_allclose(on_cuda, model.predict(IMAGES, verbose=0), atol=1e-5)


@pytest.mark.parametrize("form", ["arrays", "tensors there", "loader"])
def test_fit_and_evaluate(form):
    model = network()
    x, y = torch.from_numpy(IMAGES), torch.from_numpy(LABELS)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=32)
    data = {"arrays": (IMAGES, LABELS), "tensors there": (x.cuda(), y.cuda()), "loader": (loader,)}[form]
    history = model.fit(*data, epochs=3, verbose=0).history
    assert all(np.isfinite(history["loss"]))
    loss, accuracy = model.evaluate(*data, verbose=0)
    assert np.isfinite(loss)
    assert 0 <= accuracy <= 1


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "adamax", "nadam", "rmsprop", "adagrad", "adadelta", "lion"])
def test_every_optimizer_steps(name):
    model = network(optimizer=name)
    before = model.get_weights()
    model.fit(IMAGES, LABELS, verbose=0)
    assert not np.array_equal(before[0], model.get_weights()[0])


def test_labels_out_of_range_are_named():
    with pytest.raises(ValueError, match="Class numbers must lie"):
        network().fit(IMAGES, LABELS + 1, verbose=0)


def test_files_move_between_devices(tmp_path):
    plain = triarch.Sequential([layers.Input((8, 8, 1)), layers.Flatten(), layers.Dense(2)])
    plain.save(tmp_path / "model.keras")
    config.set_device("cpu")
    loaded = triarch.models.load_model(tmp_path / "model.keras")
    assert loaded.weights[0].device.type == "cpu"
    np.testing.assert_allclose(loaded.predict(IMAGES, verbose=0), plain.predict(IMAGES, verbose=0), atol=1e-5)


def test_a_series_goes_on_under_every_spelling_of_its_device():
    series, other = triarch.random.SeedGenerator(1), triarch.random.SeedGenerator(1)
    drawn = [torch.rand(3, generator=series.on(device), device="cuda") for device in ("cuda", "cuda:0")]
    expected = [torch.rand(3, generator=other.on("cuda"), device="cuda") for _ in range(2)]
    assert torch.equal(torch.cat(drawn), torch.cat(expected))
    assert config.device() == torch.zeros(1, device="cuda").device
