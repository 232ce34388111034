"""`triarch train --model stn` and `stn-cnn`, and the picture of what they look at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from commands import refused, run
from PIL import Image

from triarch import layers, saving
from triarch.cli.networks import NETWORKS
from triarch.cli.parts import InMemory
from triarch.cli.transformed_picture import draw_transformed, transformer_of


@pytest.mark.parametrize("model", ["stn", "stn-cnn"])
def test_networks_with_a_spatial_transformer_learn_and_show_what_they_look_at(model: str, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    _, shown, _ = run("train", "--model", model, "--epochs", 3, "--out", folder)
    assert float(shown.split("Test accuracy ")[1].split()[0]) > 85
    assert "transformed" in shown
    picture = np.asarray(Image.open(folder / "transformed.png").convert("RGB")).astype(int)
    orange = (abs(picture - (224, 123, 42)).sum(-1) < 30).sum()  # of the frames
    assert orange > 1000
    network = saving.load_model(folder / "model.keras")
    transformer = transformer_of(network)
    assert transformer is not None
    assert {weight.learning_rate_factor for weight in transformer.weights} == {0.1}
    assert any(np.abs(weight).max() > 0 for weight in transformer.get_weights()[-2:])  # it has learnt


def test_the_picture_shows_colours_and_frames_that_are_not_finite_are_left_out(tmp_path: Path) -> None:
    network = NETWORKS["stn"]((12, 16, 3), 3, (0, 255))
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (7, 12, 16, 3), dtype=np.uint8)
    part = InMemory(images, np.array([0, 1, 2, 0, 1, 2, 0]), (0, 255))
    transformer = transformer_of(network)
    assert transformer is not None
    transformer.network.members[-1].bias.assign([np.nan, 0, 0, 0, 0, 0])
    draw_transformed(tmp_path / "nan.png", network, part)
    transformer.network.members[-1].bias.assign(np.zeros(6))
    draw_transformed(tmp_path / "plain.png", network, part)
    sizes = [Image.open(tmp_path / name).size for name in ("nan.png", "plain.png")]
    assert all(width > height > 100 for width, height in sizes)


def test_networks_without_one() -> None:
    assert transformer_of(NETWORKS["cnn"]((8, 8, 1), 3, (0, 1))) is None
    assert isinstance(transformer_of(NETWORKS["stn"]((8, 8, 1), 3, (0, 1))), layers.SpatialTransformer)


def test_what_is_refused(tmp_path: Path) -> None:
    assert "at least 4 pixels a side" in refused("train", "--model", "stn", "--data", tiny(tmp_path))
    assert "--weights is for residual networks" in refused("train", "--model", "stn-cnn", "--weights", "imagenet")


def tiny(folder: Path) -> Path:
    """A data set of images of 3 x 3 pixels."""
    path = folder / "tiny.npz"
    np.savez(path, x=np.arange(180, dtype=np.uint8).reshape(20, 3, 3), y=np.arange(20) % 2)
    return path
