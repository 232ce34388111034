"""Distorted images: every draw is what the paper says, and depends on seed and number alone.

Images of places, whose channels are x, y and 1, tell for each pixel of a result where in the image it came from.
"""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

import triarch
from triarch.datasets import DistortedImages, Distortion, cluttered, digit_addition, digits, distort, mnist
from triarch.datasets.distorted import arguments, draws
from triarch.datasets.distorted import distortion as module
from triarch.kernels.sampling import tps_matrix
from triarch.utils import set_random_seed

KINDS = tuple(module.KINDS)
CORNERS = np.array([[-14, -14], [14, -14], [14, 14], [-14, 14]])


def images_of_places(count: int, height: int = 28, width: int = 28) -> np.ndarray:
    """`(count, height, width, 3)`: x and y in pixels from the middle, and 1."""
    x, y = np.meshgrid(np.arange(width) - (width - 1) / 2, np.arange(height) - (height - 1) / 2)
    return np.repeat(np.stack([x, y, np.ones_like(x)], -1)[None], count, 0)


def pairs_of_places(
    count: int, kind: str | Distortion, frame: tuple[int, int] = (28, 28), size: object = None
) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each result the places of its pixels and those in the image that they show, where these are inside."""
    found = distort(images_of_places(count, *frame), kind, 1, size)
    own = images_of_places(1, *found.shape[1:3])[0, ..., :2]
    inside = found[..., 2] > 1 - 1e-12
    return [(own[where], image[where][:, :2]) for image, where in zip(found, inside, strict=True)]


def is_uniform(values: np.ndarray, low: float, high: float) -> bool:
    """Whether they are inside, come near to both ends, and have a uniform distribution."""
    shares = (values - low) / (high - low)
    inside = shares.min() > -1e-9 and shares.max() < 1 + 1e-9
    reach = max(shares.min(), 1 - shares.max()) < 10 / len(values)
    return inside and reach and scipy.stats.kstest(shares, "uniform").pvalue > 1e-3


def affine_maps(kind: str | Distortion, count: int = 300, *sizes: object) -> dict[str, np.ndarray]:
    """Angles in degrees, scales and moves in pixels of that many images."""
    found: dict[str, list] = {"angle": [], "scale": [], "x": [], "y": []}
    for shown, source in pairs_of_places(count, kind, *sizes):
        design = np.c_[source, np.ones(len(source))]
        matrix = np.linalg.lstsq(design, shown, rcond=None)[0].T  # from the image to the canvas
        np.testing.assert_allclose(design @ matrix.T, shown, atol=1e-9)
        np.testing.assert_allclose(matrix[:, :2] @ matrix[:, :2].T, np.eye(2) * np.linalg.det(matrix[:, :2]), atol=1e-9)
        found["angle"].append(np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0])))
        found["scale"].append(np.sqrt(np.linalg.det(matrix[:, :2])))
        found["x"].append(matrix[0, 2])
        found["y"].append(matrix[1, 2])
    return {name: np.array(values) for name, values in found.items()}


def homography(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The projective map that takes the one set of places to the other, by the smallest singular vector."""
    ones, zeros = np.ones((len(source), 1)), np.zeros((len(source), 3))
    own = np.c_[source, ones]
    system = np.r_[np.c_[own, zeros, -target[:, :1] * own], np.c_[zeros, own, -target[:, 1:] * own]]
    return np.linalg.svd(system, full_matrices=False)[2][-1].reshape(3, 3)


def projected(matrix: np.ndarray, places: np.ndarray) -> np.ndarray:
    images = np.c_[places, np.ones(len(places))] @ matrix.T
    return images[:, :2] / images[:, 2:]


def test_r_turns_about_the_middle_by_up_to_90_degrees() -> None:
    found = affine_maps("R")
    assert is_uniform(found["angle"], -90, 90)
    for name, value in (("scale", 1), ("x", 0), ("y", 0)):
        np.testing.assert_allclose(found[name], value, atol=1e-9)


def test_rts_turns_scales_and_moves() -> None:
    found = affine_maps("RTS")
    assert is_uniform(found["angle"], -45, 45)
    assert is_uniform(found["scale"], 0.7, 1.2)
    assert is_uniform(found["x"], -7, 7)
    assert is_uniform(found["y"], -7, 7)
    pairs = scipy.stats.spearmanr(np.stack(list(found.values()), 1)).statistic
    assert np.abs(pairs - np.eye(4)).max() < 0.2


def test_images_and_canvases_need_not_be_square() -> None:
    found = affine_maps("RTS", 300, (20, 32), (30, 60))
    assert is_uniform(found["angle"], -45, 45)
    assert is_uniform(found["x"], -14, 14)
    assert is_uniform(found["y"], -5, 5)
    assert distort(images_of_places(1, 20, 32), "RTS").shape == (1, 30, 48, 3)


def test_a_bright_dot_goes_where_its_place_goes() -> None:
    count = 50
    image = np.zeros((28, 28))
    image[9:11, 17:19] = 1  # 4 pixels about (4, -4)
    found = distort(np.repeat(image[None], count, 0), "RTS", 1)
    places = images_of_places(1, 42, 42)[0]
    for dot, (shown, source) in zip(found, pairs_of_places(count, "RTS"), strict=True):
        centre = (dot[..., None] * places).sum((0, 1)) / dot.sum()
        expected = projected(homography(source, shown), np.array([[4.0, -4.0]]))[0]
        np.testing.assert_allclose(centre[:2], expected, atol=0.2)


def test_p_moves_the_corners_by_normal_noise() -> None:
    moved = []
    for shown, source in pairs_of_places(150, "P", size=60):
        matrix = homography(source, shown)
        np.testing.assert_allclose(projected(matrix, source), shown, atol=1e-6)
        moved.append(projected(matrix, CORNERS))
    noise = np.stack(moved) - 0.875 * CORNERS
    assert np.abs(noise.mean(0)).max() < 4 * 5 / np.sqrt(150)
    assert noise.std() == pytest.approx(np.hypot(5, 14 * 0.25 / np.sqrt(12)), rel=0.08)
    assert module._is_convex(np.stack(moved)).all()


def test_noise_alone_is_normal_and_folds_nothing_over() -> None:
    numbers = draws.uniforms(3, 0, 0, 3000, 4)
    rule = Distortion(corners=2)
    noise = (module._moved_corners(numbers, rule, 3, 0, (28, 28), (28, 28)) - CORNERS).ravel()
    assert scipy.stats.kstest(noise, "norm", (0, 2)).pvalue > 1e-3
    wild = module._moved_corners(numbers, Distortion(corners=14), 3, 0, (28, 28), (28, 28))
    assert module._is_convex(wild).all()
    assert not module._is_convex(wild[:, ::-1]).any()


def test_e_moves_16_control_points_of_a_thin_plate_spline() -> None:
    matrix = tps_matrix((28, 28), (4, 4)).numpy()
    own = images_of_places(1)[0, ..., :2].reshape(-1, 2)
    number = {tuple(place): row for row, place in enumerate(own)}
    moves = []
    for shown, source in pairs_of_places(60, Distortion(points=1.5)):
        rows = matrix[[number[tuple(place)] for place in shown]]
        move, _, rank, _ = np.linalg.lstsq(rows, source - shown, rcond=None)
        np.testing.assert_allclose(rows @ move, source - shown, atol=1e-9)
        assert rank == 16
        moves.append(move)
    assert scipy.stats.kstest(np.concatenate(moves).ravel(), "norm", (0, 1.5)).pvalue > 1e-3
    assert module.KINDS["E"] == Distortion(scale=(0.75, 1), points=1.5)


def test_what_a_distortion_of_ones_own_says_holds() -> None:
    found = affine_maps(Distortion(angle=10, scale=(2, 3)), 60)
    assert is_uniform(found["angle"], -10, 10)
    assert is_uniform(found["scale"], 2, 3)
    image = images_of_places(2)
    np.testing.assert_allclose(distort(image, Distortion(), 1), image, rtol=0, atol=1e-12)
    bent = Distortion(angle=30, points=1e-9)  # a spline that nothing bends is the map itself
    np.testing.assert_allclose(distort(image, bent, 1), distort(image, Distortion(angle=30), 1), atol=1e-6)


def test_canvases_are_the_papers_or_chosen() -> None:
    image = np.zeros((1, 28, 28), np.uint8)
    assert {kind: distort(image, kind).shape[1:] for kind in KINDS} == {
        "R": (28, 28),
        "RTS": (42, 42),
        "P": (28, 28),
        "E": (28, 28),
    }
    assert distort(image, "R", size=40).shape == (1, 40, 40)
    assert distort(image[..., None], "RTS", size=(30, 50)).shape == (1, 30, 50, 1)
    around = distort(images_of_places(3), "R", 1, size=40)
    np.testing.assert_array_equal(around[:, 6:34, 6:34][around[:, 6:34, 6:34, 2] == 1].size > 0, True)
    np.testing.assert_allclose(around[:, 6:34, 6:34], distort(images_of_places(3), "R", 1), atol=1e-12)


def handwritten(count: int = 40) -> np.ndarray:
    (images, _), _ = digits.load_data()
    return np.kron(images[:count] * 15, np.ones((1, 3, 3), np.uint8))


@pytest.mark.parametrize("kind", KINDS)
def test_seed_and_number_say_everything(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    images = handwritten()
    whole = distort(images, kind, 5)
    assert whole.any((1, 2)).all()
    np.testing.assert_array_equal(distort(images, kind, 5), whole)
    assert (distort(images, kind, 6) != whole).any((1, 2)).all()
    parts = [distort(images[start : start + 7], kind, 5, first=start) for start in range(0, len(images), 7)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    monkeypatch.setattr(arguments, "CHUNK", 3000)
    np.testing.assert_array_equal(distort(images, kind, 5), whole)
    same = np.repeat(images[:1], 10, 0)
    assert len(np.unique(distort(same, kind, 5), axis=0)) == 10


def test_without_a_seed_set_random_seed_decides() -> None:
    images = handwritten(3)
    set_random_seed(4)
    first, second = distort(images, "R"), distort(images, "R")
    assert (first != second).any()
    set_random_seed(4)
    np.testing.assert_array_equal(distort(images, "R"), first)


def test_images_are_the_same_on_every_machine() -> None:
    found = {kind: hashlib.sha256(distort(handwritten(), kind, 2**63).tobytes()).hexdigest()[:12] for kind in KINDS}
    assert found == EVERYWHERE


EVERYWHERE = {"R": "98f4755968d3", "RTS": "102998b5c500", "P": "ce7cad185207", "E": "3672c7acbe9e"}


@pytest.mark.parametrize("kind", KINDS)
def test_types_and_ranges_stay(kind: str) -> None:
    images = handwritten(6)
    exact = distort(images.astype("float64"), kind, 1)
    np.testing.assert_array_equal(distort(images, kind, 1), np.rint(exact).astype("uint8"))
    for dtype in ("float16", "float32"):
        found = distort(images.astype(dtype), kind, 1)
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, exact.astype(dtype))
    full = distort(np.full((20, 24, 24, 2), 0.3), kind, 1)
    assert full.dtype == "float64"
    assert full.min() >= 0
    assert full.max() == 0.3
    below = distort(np.full((20, 24, 24), -0.7), kind, 1)
    assert below.max() == 0
    assert below.min() == -0.7


def test_channels_are_distorted_alike() -> None:
    images = handwritten(5)
    both = distort(np.stack([images, images // 2], -1), "P", 3)
    np.testing.assert_array_equal(both[..., 0], distort(images, "P", 3))
    np.testing.assert_array_equal(both[..., 1], distort(images // 2, "P", 3))


IMAGES = np.zeros((2, 28, 28), np.uint8)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: distort(IMAGES, "Q"), "`kind` is one of 'R', 'RTS', 'P', 'E'.*Received: kind='Q'"),
        (lambda: distort(IMAGES, None), "`kind` is one of.*Received: kind=None"),
        (lambda: distort(IMAGES[0], "R"), r"\(n, height, width\).*Received: shape \(28, 28\)"),
        (lambda: distort(IMAGES[:0], "R"), r"none of it 0.*Received: shape \(0, 28, 28\)"),
        (lambda: distort(IMAGES[:, :0], "R"), r"Received: shape \(2, 0, 28\)"),
        (lambda: distort(IMAGES.astype("int32"), "R"), "uint8, float16, float32, float64. Received: int32"),
        (lambda: distort(IMAGES, "R", -1), "from 0 to.*Received: seed=-1"),
        (lambda: distort(IMAGES, "R", 2**64), "Received: seed=18446744073709551616"),
        (lambda: distort(IMAGES, "R", 0.5), r"Received: seed=0\.5"),
        (lambda: distort(IMAGES, "R", size=0), "at least 1 pixel. Received: size=0"),
        (lambda: distort(IMAGES, "R", size=(1, 2, 3)), r"Received: size=\(1, 2, 3\)"),
        (lambda: distort(IMAGES, "RTS", size=20), "a canvas that holds them. Received: 20x20 for images of 28x28"),
        (lambda: distort(IMAGES, Distortion(roams=True, canvas=0.5)), "Received: 14x14 for images of 28x28"),
        (lambda: distort(IMAGES, "R", first=-1), "Received: first=-1"),
        (lambda: Distortion(angle=-1), "not negative.*Received: Distortion"),
        (lambda: Distortion(corners=float("nan")), "not negative.*Received: Distortion"),
        (lambda: Distortion(corners=float("inf")), "not negative.*Received: Distortion"),
        (lambda: Distortion(scale=(1.2, 0.7)), "smallest and the largest.*Received: Distortion"),
        (lambda: cluttered(IMAGES, [1, 2], size=20), "holds the images. Received: size=20"),
        (lambda: cluttered(IMAGES, [1, 2, 3]), r"a label for each image. Received: labels of shape \(3,\) for 2"),
        (lambda: cluttered(IMAGES, [1, 2], patch=29), "from 1 to .* 28. Received: clutter=16, patch=29"),
        (lambda: cluttered(IMAGES[:1], [1]), "at least 2. Received: 1 image"),
        (lambda: digit_addition(IMAGES, [1, 2], 0), "at least 1. Received: count=0"),
        (lambda: digit_addition(IMAGES, [0.5, 1], 3), r"whole numbers \(n,\). Received: float64 of shape \(2,\)"),
        (lambda: digit_addition(IMAGES, np.eye(2, dtype=int), 3), r"Received: int64 of shape \(2, 2\)"),
        (lambda: digit_addition(np.stack([IMAGES] * 3, -1), [1, 2], 3), r"one channel. Received: .*\(2, 28, 28, 3\)"),
        (lambda: DistortedImages(IMAGES, [1, 2], "R", 0), "Received: batch_size=0"),
        (lambda: DistortedImages(IMAGES, [1], "R"), "a label for each image"),
        (lambda: DistortedImages(IMAGES, [1, 2], "S"), "Received: kind='S'"),
        (lambda: DistortedImages(IMAGES, [1, 2], "RTS", size=9), "Received: 9x9"),
    ],
)
def test_errors_say_what_is_expected(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_clutter_keeps_the_digit_and_comes_from_others(monkeypatch: pytest.MonkeyPatch) -> None:
    count = 30
    images = np.arange(100, 100 + count, dtype=np.uint8)[:, None, None] * np.ones((28, 28), np.uint8)
    plain, labels = cluttered(images, np.arange(count), 3, clutter=0)
    assert plain.shape == (count, 60, 60)
    assert labels.tolist() == list(range(count))
    assert ((plain > 0).sum((1, 2)) == 28 * 28).all()
    rows, columns = (plain.any(axis).argmax(1) for axis in (2, 1))
    for own, row, column, image in zip(plain, rows, columns, images, strict=True):
        np.testing.assert_array_equal(own[row : row + 28, column : column + 28], image)
    assert max(rows.max(), columns.max()) <= 32
    assert len(set(zip(rows.tolist(), columns.tolist(), strict=True))) > 25

    found, _ = cluttered(images, np.arange(count), 3)
    assert (found >= plain).all()
    for number in range(count):
        assert (found[number] == images[number, 0, 0]).sum() <= 28 * 28  # no patch is cut out of the image itself
        added = (found[number] != plain[number]).sum()
        assert 36 <= added <= 16 * 36
    assert (found > 0).sum() > (plain > 0).sum() * 1.2
    monkeypatch.setattr(arguments, "CHUNK", 20000)
    np.testing.assert_array_equal(cluttered(images, np.arange(count), 3)[0], found)


def test_patches_are_cut_out_anywhere_and_put_anywhere() -> None:
    image = np.arange(1, 65, dtype=np.uint8).reshape(8, 8)
    images = np.stack([image * 0, *[image] * 400])[..., None]
    found, _ = cluttered(images, np.zeros(401), 1, size=(8, 9), clutter=1, patch=3)
    only, _ = cluttered(np.stack([image * 0, image])[..., None], [0, 0], 1, size=(8, 9), clutter=1, patch=3)
    rows, columns = np.nonzero(only[0, ..., 0])
    piece = only[0, rows.min() : rows.min() + 3, columns.min() : columns.min() + 3, 0].astype(int)
    np.testing.assert_array_equal(piece - piece[0, 0], [[0, 1, 2], [8, 9, 10], [16, 17, 18]])
    assert found.shape == (401, 8, 9, 1)
    bare, _ = cluttered(images, np.zeros(401), 1, size=(8, 9), clutter=0)
    changed = (found > bare)[..., 0].sum(0)
    assert (changed > 0).all()  # wherever a patch may lie, some did


def test_sums_are_those_of_the_two_digits() -> None:
    images = np.repeat(np.arange(10, dtype=np.uint8) * 20 + 50, 28 * 28).reshape(10, 28, 28)
    pairs, sums = digit_addition(images, np.arange(10, dtype=np.uint8), 500, 2)
    assert pairs.shape == (500, 42, 42, 2)
    assert (pairs.dtype, sums.dtype) == (np.uint8, np.int64)
    seen = (pairs.max((1, 2)).astype(int) - 50) / 20
    np.testing.assert_array_equal(seen.sum(1), sums)
    assert set(sums.tolist()) == set(range(19))
    assert scipy.stats.chisquare(np.bincount(seen.ravel().astype(int))).pvalue > 1e-3
    assert (seen[:, 0] == seen[:, 1]).mean() < 0.2
    np.testing.assert_array_equal(digit_addition(images[..., None], np.arange(10), 20, 2)[0], pairs[:20])
    which = seen[:50].ravel().astype(int)
    np.testing.assert_array_equal(distort(images[which], "RTS", 2)[1::2], pairs[:50, ..., 1])


def test_sums_do_not_depend_on_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    images, labels = handwritten(), np.arange(40) % 10
    whole = digit_addition(images, labels, 30, 1, size=40)
    monkeypatch.setattr(arguments, "CHUNK", 10000)
    for ours, expected in zip(digit_addition(images, labels, 30, 1, size=40), whole, strict=True):
        np.testing.assert_array_equal(ours, expected)


def passes(dataset: DistortedImages, count: int) -> np.ndarray:
    """The pictures of these passes: `(count, n, ...)`."""
    return np.stack([np.concatenate([x for x, _ in dataset]) for _ in range(count)])


def test_epochs_differ_and_repeat_for_every_batch_size() -> None:
    images, labels = handwritten(), np.arange(40)
    whole = passes(DistortedImages(images, labels, "RTS", 40, seed=1), 3)
    assert whole.shape == (3, 40, 36, 36)
    assert len(np.unique(whole.reshape(120, -1), axis=0)) == 120
    np.testing.assert_array_equal(passes(DistortedImages(images, labels, "RTS", 7, seed=1), 3), whole)
    np.testing.assert_array_equal(passes(DistortedImages(images, labels, "RTS", 7, seed=1, workers=3), 3), whole)
    resumed = DistortedImages(images, labels, "RTS", 16, seed=1)
    resumed.epoch = 2
    np.testing.assert_array_equal(passes(resumed, 1)[0], whole[2])
    assert (passes(DistortedImages(images, labels, "RTS", 7, seed=2), 3) != whole).any((2, 3)).mean() > 0.9


def test_batches_are_told_by_their_numbers() -> None:
    images, labels = handwritten(), np.arange(40)
    dataset = DistortedImages(images, labels, "E", 16, seed=9, shuffle=False)
    assert len(dataset) == 3
    x, y = dataset[2]
    assert y.tolist() == list(range(32, 40))
    np.testing.assert_array_equal(x, distort(images[32:], "E", 9, first=32))
    np.testing.assert_array_equal(dataset[4][0], distort(images[16:32], "E", 9, first=56))
    with pytest.raises(IndexError, match="Received: number -1"):
        dataset[-1]
    mixed = pickle.loads(pickle.dumps(DistortedImages(images, labels, Distortion(), 16, seed=9)))
    orders = [np.concatenate([mixed[start + index][1] for index in range(3)]) for start in (0, 3)]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(40))
    assert (orders[0] != orders[1]).sum() > 30
    for index in range(6):
        np.testing.assert_array_equal(mixed[index][0], images[mixed[index][1]])


@pytest.mark.parametrize("steps", [None, 2, 4, 7])
def test_fit_never_sees_a_picture_twice(steps: int | None) -> None:
    seen = []

    class Watched(DistortedImages):
        def __getitem__(self, index: int) -> tuple:
            batch = super().__getitem__(index)
            seen.append(batch[0])
            return batch

    same = np.repeat(handwritten(1), 40, 0).astype("float32") / 255
    model = triarch.Sequential([triarch.layers.Flatten(), triarch.layers.Dense(2, activation="softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    history = model.fit(Watched(same, np.arange(40) % 2, "R", 16, seed=1), epochs=3, steps_per_epoch=steps, verbose=0)
    assert len(history.history["loss"]) == 3
    pictures = np.concatenate(seen).reshape(-1, 24 * 24)
    assert len(pictures) == 120 if steps is None else len(seen) >= 3 * steps
    assert len(np.unique(pictures, axis=0)) == len(pictures)


def test_digits_of_mnist_stay_on_their_canvas(data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIARCH_DATASETS", str(data_folder))
    (images, labels), _ = mnist.load_data()
    images, labels = images[:300], labels[:300]
    ink = images.sum((1, 2), dtype=float)
    for kind, low, high in (("R", 0.95, 1.02), ("RTS", 0.4, 1.5), ("E", 0.3, 1.5)):
        ratio = distort(images, kind, 1).sum((1, 2), dtype=float) / ink
        assert low < ratio.min() <= ratio.max() < high, kind
    share = np.median(distort(images, "P", 1).sum((1, 2), dtype=float) / ink)
    assert 0.6 < share < 0.8  # of the area the images keep 0.77, their middles 0.65
    pictures, _ = cluttered(images, labels, 1)
    assert (pictures.sum((1, 2), dtype=float) >= ink).all()
