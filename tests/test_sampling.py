"""Sampling of images at places of a grid, compiled and by torch's operations, against torch's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.interpolate import RBFInterpolator

from triarch import kernels
from triarch.kernels.sampling import reference
from triarch.kernels.sampling.method import INTERPOLATIONS, PADDINGS, Method

SHAPES = [(2, 7, 5, 3), (3, 1, 4, 1), (1, 6, 1, 9)]  # of images


def made(shape, dtype=torch.float64, reach=1.8, rows=5, columns=6):
    rng = np.random.default_rng(sum(shape))
    images = torch.from_numpy(rng.standard_normal(shape)).to(dtype)
    grid = torch.from_numpy(rng.uniform(-reach, reach, (shape[0], rows, columns, 2))).to(dtype)
    return images, grid


def theirs(images, grid, interpolation, padding, align_corners):
    """torch's function; its images have channels first."""
    found = F.grid_sample(images.permute(0, 3, 1, 2), grid, interpolation, padding, align_corners)
    return found.permute(0, 2, 3, 1)


def compiled(images, grid, *options):
    with kernels.expecting(10**9):
        return kernels.grid_sample(images, grid, *options)


def by_torch(images, grid, *options):
    return kernels.grid_sample(images, grid, *options)


both = pytest.mark.parametrize("sampled", [compiled, by_torch])


@both
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_numbers_and_gradients_are_torchs(sampled, shape, interpolation, padding, align_corners):
    images, grid = made(shape)
    ours, others = ([part.clone().requires_grad_() for part in (images, grid)] for _ in range(2))
    found = sampled(*ours, interpolation, padding, align_corners)
    expected = theirs(*others, interpolation, padding, align_corners)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    weights = torch.randn_like(expected)
    gradients = torch.autograd.grad(found, ours, weights, allow_unused=True, materialize_grads=True)
    for own, other in zip(gradients, torch.autograd.grad(expected, others, weights), strict=True):
        torch.testing.assert_close(own, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_compiled_code_is_the_reference(interpolation, padding):
    images, grid = made((3, 6, 7, 3), reach=5)
    ours, others = ([part.clone().requires_grad_() for part in (images, 4 * grid)] for _ in range(2))
    with kernels.expecting(10**9):
        found = kernels.sampling.sample(*ours, interpolation, padding)
    expected = reference.sample(*others, Method(interpolation, padding))
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    weights = torch.randn_like(expected)
    gradients = torch.autograd.grad(found, ours, weights)
    known = torch.autograd.grad(expected, others, weights, allow_unused=True, materialize_grads=True)
    for own, other in zip(gradients, known, strict=True):
        torch.testing.assert_close(own, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_gradients_and_their_gradients_are_differences(interpolation, padding):
    images, _ = made((2, 4, 5, 3))
    rng = np.random.default_rng(0)
    # Away from the kinks: from pixels, from the edges, and from halves between pixels.
    whole = torch.from_numpy(rng.integers(-6, 10, (2, 3, 2, 2))).double()
    places = whole + torch.from_numpy(rng.uniform(0.1, 0.4, (2, 3, 2, 2)))
    images.requires_grad_()
    places.requires_grad_()
    with kernels.expecting(10**9):
        call = lambda *operands: kernels.sampling.sample(*operands, interpolation, padding)  # noqa: E731
        assert torch.autograd.gradcheck(call, (images, places))
        if interpolation != "nearest":
            assert torch.autograd.gradgradcheck(call, (images, places))


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_backward_is_the_adjoint(interpolation, padding):
    images, grid = made((2, 9, 7, 9), reach=2.5)
    images.requires_grad_()
    outputs = compiled(images, grid, interpolation, padding)
    given = torch.randn_like(outputs)
    (back,) = torch.autograd.grad(outputs, images, given)
    torch.testing.assert_close((outputs * given).sum(), (images * back).sum())


def test_single_precision():
    images, grid = made((4, 12, 11, 3))
    exact = theirs(images, grid, "bilinear", "zeros", False)
    found = compiled(images.float(), grid.float())
    torch.testing.assert_close(found.double(), exact, rtol=1e-4, atol=1e-5)


@both
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_pixels_are_themselves_to_the_last_bit(sampled, interpolation, padding):
    images, _ = made((2, 13, 10, 3), torch.float32)
    y, x = torch.meshgrid(torch.arange(13.0), torch.arange(10.0), indexing="ij")
    places = torch.stack([x, y], -1).expand(2, -1, -1, -1)
    with kernels.expecting(10**9 if sampled is compiled else 1):
        found = kernels.sampling.sample(images, places, interpolation, padding)
    assert torch.equal(found, images)


@both
def test_runs_repeat_to_the_last_bit(sampled):
    images, grid = made((4, 9, 9, 3), torch.float32, rows=60, columns=60)
    found = []
    for threads in (1, 2, 2):
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            own = images.clone().requires_grad_()
            found.append(torch.autograd.grad(sampled(own, grid).square().sum(), own)[0])
        finally:
            torch.set_num_threads(before)
    assert torch.equal(found[1], found[2])
    if sampled is compiled:
        assert torch.equal(found[0], found[1])


@both
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_places_that_are_not_finite_show_in_their_own_outputs_alone(sampled, bad, interpolation):
    images, grid = made((2, 5, 5, 3))
    spoilt = grid.clone()
    spoilt[1, 2, 3, 0] = bad
    images.requires_grad_()
    found, expected = sampled(images, spoilt, interpolation), sampled(images, grid, interpolation)
    assert found[1, 2, 3].isnan().all()
    found = torch.where(found.isnan(), expected, found)
    torch.testing.assert_close(found, expected)
    (gradient,) = torch.autograd.grad(sampled(images, spoilt, interpolation).nansum(), images)
    assert gradient.isfinite().all()


@both
@pytest.mark.parametrize("padding", PADDINGS)
def test_places_far_away(sampled, padding):
    images, grid = made((2, 5, 6, 3), torch.float32)
    found = sampled(images, grid * 1e30, "bilinear", padding)
    assert found.isfinite().all()
    assert found.abs().max() <= images.abs().max() + 1e-5
    if padding == "zeros":
        assert not found.any()


@pytest.mark.parametrize(("channels", "interpolation"), [(2, "bilinear"), (4, "bicubic")])
def test_other_numbers_of_channels(channels, interpolation):
    images, grid = made((3, 6, 5, channels), torch.float32, rows=19, columns=17)  # more than a chunk of places
    ours, others = ([part.clone().requires_grad_() for part in (images, grid)] for _ in range(2))
    found, expected = compiled(*ours, interpolation), by_torch(*others, interpolation)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    found.square().sum().backward()
    expected.square().sum().backward()
    for own, other in zip(ours, others, strict=True):
        torch.testing.assert_close(own.grad, other.grad, rtol=1e-3, atol=1e-3)


def test_nothing_to_sample():
    images, grid = made((2, 5, 6, 2))
    assert compiled(images[:0], grid[:0]).shape == (0, 5, 6, 2)
    assert compiled(images, grid[:, :0]).shape == (2, 0, 6, 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda images, grid: (images[0], grid), "have the shape"),
        (lambda images, grid: (images, grid[..., :1]), "have the shape"),
        (lambda images, grid: (images, grid[:1]), "have the shape"),
        (lambda images, grid: (images.float(), grid), "floats of one type"),
        (lambda images, grid: (images.long(), grid.long()), "floats of one type"),
        (lambda images, grid: (images[:, :0], grid), "have pixels"),
        (lambda images, grid: (images, grid, "linear"), "`interpolation` is one of"),
        (lambda images, grid: (images, grid, "bilinear", "same"), "`padding` is one of"),
    ],
)
def test_what_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        kernels.grid_sample(*change(*made((2, 5, 6, 2))))


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("size", [(4, 7), (1, 3), (28, 28)])
def test_affine_grids_are_torchs(size, align_corners):
    theta = torch.randn(3, 2, 3, dtype=torch.float64)
    found = kernels.affine_grid(theta, size, align_corners)
    torch.testing.assert_close(found, F.affine_grid(theta, [3, 1, *size], align_corners), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("align_corners", [False, True])
def test_projective_grids_are_projections(align_corners):
    theta = torch.eye(3, dtype=torch.float64) + 0.2 * torch.randn(2, 3, 3, dtype=torch.float64)
    found = kernels.projective_grid(theta, (5, 6), align_corners)
    plain = kernels.affine_grid(torch.eye(2, 3, dtype=torch.float64).expand(2, 2, 3), (5, 6), align_corners)
    places = torch.cat([plain, torch.ones_like(plain[..., :1])], -1) @ theta[:, None].mT
    torch.testing.assert_close(found, places[..., :2] / places[..., 2:])
    theta[:, 2] = torch.tensor([0.0, 0.0, 1.0])
    torch.testing.assert_close(
        kernels.projective_grid(theta, (5, 6), align_corners), kernels.affine_grid(theta[:, :2], (5, 6), align_corners)
    )


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("control_points", [(4, 4), (2, 3)])
def test_thin_plate_grids_are_scipys(control_points, align_corners):
    rows, columns = control_points
    rng = np.random.default_rng(1)
    lattice = np.stack(np.meshgrid(np.linspace(-1, 1, columns), np.linspace(-1, 1, rows)), -1).reshape(-1, 2)
    points = lattice + 0.3 * rng.standard_normal((2, *lattice.shape))
    found = kernels.tps_grid(torch.from_numpy(points), (6, 9), control_points, align_corners)
    eye = torch.eye(2, 3, dtype=torch.float64)[None]
    pixels = kernels.affine_grid(eye, (6, 9), align_corners)[0].reshape(-1, 2).numpy()
    for own, places in zip(found, points, strict=True):
        spline = RBFInterpolator(lattice, places, kernel="thin_plate_spline", degree=1)
        np.testing.assert_allclose(own.reshape(-1, 2).numpy(), spline(pixels), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: kernels.affine_grid(torch.zeros(2, 3, 3), (4, 4)), r"\(batch, 2, 3\)"),
        (lambda: kernels.projective_grid(torch.zeros(3, 3), (4, 4)), r"\(batch, 3, 3\)"),
        (lambda: kernels.affine_grid(torch.zeros(2, 2, 3), (4, 0)), "height and width"),
        (lambda: kernels.tps_grid(torch.zeros(2, 9, 2), (4, 4)), r"\(batch, 16, 2\)"),
        (lambda: kernels.tps_grid(torch.zeros(2, 4, 2), (4, 4), (1, 4)), "at least 2 x 2"),
    ],
)
def test_grids_that_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_gradients_reach_the_parameters_of_grids():
    for function, shape in (
        (kernels.affine_grid, (2, 3)),
        (kernels.projective_grid, (3, 3)),
        (kernels.tps_grid, (16, 2)),
    ):
        theta = (torch.eye(*shape) + 0.1 * torch.randn(2, *shape)).double().requires_grad_()
        assert torch.autograd.gradcheck(lambda theta, function=function: function(theta, (3, 4)), theta)
