"""A Keras program for MNIST: it runs unchanged, and its training is Keras's, step for step."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import triarch
from triarch import kernels

PROGRAM = Path(__file__).resolve().parents[2] / "shared" / "chapter" / "program.py"


@pytest.mark.skipif(not PROGRAM.exists(), reason=f"the program is not there: {PROGRAM}")
def test_the_program_runs_unchanged(data_folder, tmp_path):
    settings = {"CHAPTER_EPOCHS": "1", "CHAPTER_SAMPLES": "2000", "TRIARCH_DATASETS": str(data_folder)}
    done = subprocess.run(
        [sys.executable, PROGRAM],
        cwd=tmp_path,
        env=os.environ | settings | {"OMP_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "x_train shape: (2000, 28, 28, 1)" in done.stdout
    assert "predictions: (10000, 10)" in done.stdout
    assert "val_acc" in done.stdout
    assert "\r" not in done.stdout
    assert "\x1b" not in done.stdout
    assert {path.name for path in tmp_path.iterdir()} == {"model_at_epoch_1.keras", "final_model.keras"}
    model = triarch.models.load_model(tmp_path / "final_model.keras")
    assert model.count_params() == 260_298


def network(library):
    layers = library.layers
    model = library.Sequential(
        [
            layers.Input(shape=(28, 28, 1)),
            layers.Conv2D(64, kernel_size=(3, 3), activation="relu"),
            layers.Conv2D(64, kernel_size=(3, 3), activation="relu"),
            layers.MaxPooling2D(pool_size=(2, 2)),
            layers.Conv2D(128, kernel_size=(3, 3), activation="relu"),
            layers.Conv2D(128, kernel_size=(3, 3), activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(
        loss=library.losses.SparseCategoricalCrossentropy(),
        optimizer=library.optimizers.Adam(learning_rate=1e-3),
        metrics=[library.metrics.SparseCategoricalAccuracy(name="acc")],
    )
    return model


def test_the_loss_history_is_that_of_keras(keras, data_folder, monkeypatch):
    monkeypatch.setenv("TRIARCH_DATASETS", str(data_folder))
    (x, y), _ = triarch.datasets.mnist.load_data()
    x = np.expand_dims(x[:2000].astype("float32") / 255, -1)
    y = y[:2000]
    mine, theirs = network(triarch), network(keras)
    mine.set_weights(theirs.get_weights())
    histories = []
    for library, model in ((triarch, mine), (keras, theirs)):
        losses = []

        class Watch(library.callbacks.Callback):
            def on_train_batch_end(self, batch, logs=None, losses=losses):
                losses.append(logs["loss"])

        with kernels.use("direct"):  # Keras's sums; the others round differently
            history = model.fit(
                x, y, batch_size=128, epochs=1, shuffle=False, validation_split=0.15, verbose=0, callbacks=[Watch()]
            )
        histories.append((losses, history.history))
    (my_losses, my_history), (their_losses, their_history) = histories
    assert len(my_losses) == 14
    np.testing.assert_allclose(my_losses, their_losses, atol=1e-4)
    assert set(my_history) == set(their_history) == {"acc", "loss", "val_acc", "val_loss"}
    for name in ("loss", "val_loss"):
        np.testing.assert_allclose(my_history[name], their_history[name], atol=1e-4)
