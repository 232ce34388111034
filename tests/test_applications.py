"""The table of networks: numbers of weights, Keras's and torchvision's files, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from triarch import applications, models

# Weights that are learnt, as the papers, Keras and torchvision count them.
COUNTS = {
    "ResNet18": 11_689_512,
    "ResNet34": 21_797_672,
    "ResNet50": 25_583_592,
    "ResNet101": 44_601_832,
    "ResNet50V2": 25_568_360,
    "ResNet20": 269_722,
    "ResNet56": 853_018,
    "ResNet110": 1_727_962,
    "PlainNet20": 269_722,
}


@pytest.mark.parametrize("name", COUNTS)
def test_numbers_of_weights(name):
    model = getattr(applications, name)(weights=None)
    assert sum(weight.numel() for weight in model.trainable_weights) == COUNTS[name]


@pytest.mark.parametrize("name", ["ResNet50", "ResNet50V2", "ResNet101"])
def test_keras_files_give_the_same_predictions_and_back(name, rng, tmp_path, keras):
    keras.utils.clear_session(free_memory=False)  # its numbers of layers go on from test to test
    theirs = getattr(keras.applications, name)(weights=None, input_shape=(64, 64, 3), classes=7)
    theirs.save(tmp_path / "theirs.keras")
    theirs.save_weights(tmp_path / "theirs.weights.h5")
    x = rng.normal(size=(2, 64, 64, 3)).astype(np.float32)
    expected = theirs(torch.from_numpy(x)).detach()
    loaded = models.load_model(tmp_path / "theirs.keras")
    torch.testing.assert_close(loaded(x).detach(), expected, rtol=1e-4, atol=1e-6)
    own = getattr(applications, name)(weights=tmp_path / "theirs.weights.h5", input_shape=(64, 64, 3), classes=7)
    torch.testing.assert_close(own(x).detach(), expected, rtol=1e-4, atol=1e-6)
    assert [layer.name for layer in own.layers[1:]] == [layer.name for layer in theirs.layers[1:]]
    own.save(tmp_path / "ours.keras")
    back = keras.models.load_model(tmp_path / "ours.keras")
    torch.testing.assert_close(back(torch.from_numpy(x)).detach(), expected, rtol=1e-4, atol=1e-6)


def test_files_from_before_keras_3_are_read(rng, tmp_path, keras):
    theirs = keras.applications.ResNet50(weights=None, input_shape=(64, 64, 3), classes=5)
    theirs.save(tmp_path / "theirs.h5")
    x = rng.normal(size=(1, 64, 64, 3)).astype(np.float32)
    own = applications.ResNet50(weights=tmp_path / "theirs.h5", input_shape=(64, 64, 3), classes=5)
    torch.testing.assert_close(own(x), theirs(torch.from_numpy(x)), rtol=1e-4, atol=1e-6)
    headless = applications.ResNet50(weights=None, include_top=False, pooling="avg", input_shape=(64, 64, 3))
    report = applications.read_weights(headless, tmp_path / "theirs.h5")
    assert report.unused == ["predictions/0", "predictions/1"]
    assert not report.kept
    assert "2 not in the network" in str(report)


class _TorchBlock(nn.Module):
    """torchvision's blocks, as its documentation and files have them."""

    def __init__(self, channels: int, width: int, stride: int, is_bottleneck: bool) -> None:
        super().__init__()
        out = 4 * width if is_bottleneck else width
        sizes = [(channels, width, 1, 1), (width, width, 3, stride), (width, out, 1, 1)]
        if not is_bottleneck:
            sizes = [(channels, width, 3, stride), (width, width, 3, 1)]
        self.depth = len(sizes)
        for number, (a, b, size, step) in enumerate(sizes, 1):
            setattr(self, f"conv{number}", nn.Conv2d(a, b, size, step, size // 2, bias=False))
            setattr(self, f"bn{number}", nn.BatchNorm2d(b))
        self.downsample = None
        if stride > 1 or channels != out:
            self.downsample = nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x):
        y = x
        for number in range(1, self.depth + 1):
            y = getattr(self, f"bn{number}")(getattr(self, f"conv{number}")(y))
            y = torch.relu(y) if number < self.depth else y
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class _TorchNet(nn.Module):
    def __init__(self, depths, is_bottleneck: bool, classes: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        channels = 64
        for stage, depth in enumerate(depths):
            width, blocks = 64 * 2**stage, []
            for block in range(depth):
                blocks.append(_TorchBlock(channels, width, 2 if stage and not block else 1, is_bottleneck))
                channels = 4 * width if is_bottleneck else width
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(channels, classes)

    def forward(self, x):
        x = torch.max_pool2d(torch.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        for stage in range(1, 5):
            x = getattr(self, f"layer{stage}")(x)
        return self.fc(x.mean((2, 3)))


@pytest.mark.parametrize(("name", "depths"), [("ResNet18", (2, 2, 2, 2)), ("ResNet50", (3, 4, 6, 3))])
def test_torchvision_files_are_read(name, depths, rng, tmp_path):
    theirs = _TorchNet(depths, name == "ResNet50", classes=6)
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
    theirs.eval()
    torch.save(theirs.state_dict(), tmp_path / "theirs.pth")
    own = getattr(applications, name)(
        weights=tmp_path / "theirs.pth", input_shape=(64, 64, 3), classes=6, classifier_activation=None
    )
    x = torch.from_numpy(rng.normal(size=(2, 64, 64, 3)).astype(np.float32))
    torch.testing.assert_close(own(x), theirs(x.permute(0, 3, 1, 2)), rtol=1e-3, atol=1e-4)


def test_a_plain_network_is_the_residual_one_without_shortcuts():
    plain, residual = applications.PlainNet20(), applications.ResNet20()
    assert [tuple(w.shape) for w in plain.weights] == [tuple(w.shape) for w in residual.weights]
    assert not any(type(layer).__name__ == "Add" for layer in plain.layers)
    assert sum(type(layer).__name__ == "Add" for layer in residual.layers) == 9


def test_tops_poolings_and_shapes():
    for pooling, shape in ((None, (None, 8, 8, 64)), ("avg", (None, 64)), ("max", (None, 64))):
        assert applications.ResNet20(include_top=False, pooling=pooling).output_shape == shape
    model = applications.ResNet18(weights=None, input_shape=(None, None, 1), classes=3)
    assert model.output_shape == (None, 3)
    from triarch import Input

    inputs = Input((64, 64, 3), name="mine")
    assert applications.ResNet34(weights=None, input_tensor=inputs).input_names == ["mine"]


def test_images_are_prepared_as_in_keras(rng, keras):
    x = rng.integers(0, 256, size=(2, 5, 4, 3)).astype(np.float32)
    for module in ("resnet", "resnet_v2"):
        ours = getattr(applications, module).preprocess_input(x.copy())
        theirs = getattr(keras.applications, module).preprocess_input(x.copy())
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-4)


def test_what_is_refused(tmp_path):
    with pytest.raises(ValueError, match="there are 1000 classes"):
        applications.ResNet50(classes=10)
    with pytest.raises(ValueError, match="no weights from ImageNet for ResNet20"):
        applications.ResNet20(weights="imagenet", classes=1000)
    with pytest.raises(FileNotFoundError, match="the path of a file"):
        applications.ResNet50(weights=tmp_path / "missing.h5")
    (tmp_path / "text.h5").write_text("no weights")
    with pytest.raises(ValueError, match="Files of weights are"):
        applications.ResNet50(weights=tmp_path / "text.h5")
    with pytest.raises(ValueError, match="at least 32×32"):
        applications.ResNet50(weights=None, input_shape=(20, 20, 3))
    with pytest.raises(ValueError, match="`pooling` is None"):
        applications.ResNet50(weights=None, include_top=False, pooling="mean")
    torch.save(_TorchNet((2, 2, 2, 2), False, classes=6).state_dict(), tmp_path / "six.pth")
    with pytest.raises(ValueError, match=r"has shape \(512, 5\) in the network and \(512, 6\) in the file"):
        applications.ResNet18(weights=tmp_path / "six.pth", classes=5)
    with pytest.raises(ValueError, match="learnt with softmax"):
        applications.ResNet18(weights=tmp_path / "six.pth", classes=6, classifier_activation="sigmoid")
