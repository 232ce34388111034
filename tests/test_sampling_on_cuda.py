"""The sampler's kernels for CUDA: run on a device, or where there is none by Triton's interpreter; and compiled.

Triton decides at its import whether it interprets, and torch may import it at any time. So the functions `check_...`
are the tests of a pytest of their own, in a process of its own.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tolerances import assert_as_exact_as

from triarch import kernels
from triarch.kernels.sampling import cuda, operation, reference
from triarch.kernels.sampling.cuda import CudaSampler
from triarch.kernels.sampling.method import INTERPOLATIONS, PADDINGS, Method, Pixels, pixels_from_extent
from triarch.kernels.sampling.places import as_pixels
from triarch.kernels.sampling.plan import Sizes

HAS_DEVICE = torch.cuda.is_available()
DEVICE = "cuda" if HAS_DEVICE else "cpu"

needs_triton = pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed")
needs_device = pytest.mark.skipif(not HAS_DEVICE, reason="PyTorch sees no CUDA device")


def run(*arguments: str, **environment: str) -> None:
    """Python in a process of its own, which must end well."""
    call = subprocess.run(
        [sys.executable, *arguments], env=os.environ | environment, capture_output=True, text=True, check=False
    )
    assert call.returncode == 0, call.stdout + call.stderr


@needs_triton
def test_kernels():
    options = ["-q", "-p", "no:cacheprovider", "-o", "python_functions=check_*"]
    run("-m", "pytest", __file__, *options, TRITON_INTERPRET="0" if HAS_DEVICE else "1")


@needs_triton
def test_kernels_compile_for_devices_that_are_not_here(tmp_path):
    run(__file__, TRITON_INTERPRET="0", TRITON_CACHE_DIR=str(tmp_path))


def compile_kernels() -> None:
    """Compile kernels as samplers call them, for a GPU; none runs."""
    import triton
    from triton.backends.compiler import GPUTarget

    import triarch.kernels.sampling.triton_kernels as code

    names, found = ("read", "find_cells", "gather", "find_slopes"), []

    class Compiled:
        def __init__(self, name):
            self.kernel = getattr(code, name)

        def __getitem__(self, grid):
            return lambda *arguments, **options: found.append(
                self.kernel.run(*arguments, grid=grid, warmup=True, **options)
            )

    driver = SimpleNamespace(get_current_device=lambda: 0, get_current_stream=lambda device: 0)
    driver.get_current_target = lambda: GPUTarget("cuda", 80, 32)
    triton.runtime.driver.set_active(driver)
    cuda._BLOCK = 128  # which takes less time to compile

    def compiled(interpolation, padding, channels, has_gradients=False):
        sampler = CudaSampler(Sizes(2, 6, 5, channels, 3, 4), Method(interpolation, padding), Pixels())
        sampler._kernels = SimpleNamespace(**{name: Compiled(name) for name in names})
        images, places = torch.zeros(2, 6, 5, channels), torch.zeros(2, 3, 4, 2)
        outputs = sampler.forward(images, places)
        if has_gradients:
            sampler.backward(images, places, outputs, True, True)

    compiled("bilinear", "wrap", 3, has_gradients=True)
    for padding in PADDINGS:
        compiled("nearest", padding, 1)
    compiled("bicubic", "mirror", 1)
    assert [kernel.metadata.name for kernel in found] == [*names, *["read"] * (len(PADDINGS) + 1)]
    for kernel in found:
        assert kernel.asm["cubin"]
        assert not re.search(r"\b(atom|red|fma)\.", kernel.asm["ptx"]), kernel.metadata.name


class Fake(SimpleNamespace):
    """A tensor on a device that need not be there."""


def test_choice(monkeypatch):
    monkeypatch.setattr(operation, "_PLAIN", (Fake,))
    monkeypatch.setattr(operation, "cuda_sampler", lambda *arguments: "kernels")
    monkeypatch.setattr(cuda, "can_run", lambda device: device.index == 0)

    def chosen(shape=(2, 5, 6, 3), dtype=torch.float32, device="cuda:0", of_places="cuda:0"):
        images, places = (
            Fake(device=torch.device(name), is_cuda=name != "cpu", is_cpu=name == "cpu") for name in (device, of_places)
        )
        places_shape = torch.Size((shape[0], 3, 4, 2))
        plan = operation._plan(torch.Size(shape), places_shape, dtype, dtype, "bilinear", "zeros", "pixels")
        return plan.sampler(images, places)

    assert chosen() == chosen(dtype=torch.float64) == "kernels"
    assert chosen(dtype=torch.float16) is None
    assert chosen(dtype=torch.bfloat16) is None
    assert chosen((0, 5, 6, 3)) is None
    assert chosen((1, 1, 2**20 + 1, 1)) is None
    assert chosen(device="cuda:1", of_places="cuda:1") is None  # as where Triton is not installed
    assert chosen(device="cuda:1") is None
    assert chosen(device="cpu") is None
    assert chosen(device="cpu", of_places="cpu") is None  # not worth compiling


@needs_device
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_runs_repeat_to_the_last_bit_on_a_device(interpolation):
    torch.manual_seed(0)
    images, grid = torch.randn(4, 33, 31, 7, device="cuda"), torch.rand(4, 65, 70, 2, device="cuda") * 3 - 1.5
    found = []
    for _ in range(2):
        operands = images.clone().requires_grad_(), grid.clone().requires_grad_()
        outputs = kernels.grid_sample(*operands, interpolation, "reflection")
        found.append((outputs, *torch.autograd.grad(outputs.sin().sum(), operands, materialize_grads=True)))
    for first, second in zip(*found, strict=True):
        assert torch.equal(first, second)
    own = kernels.grid_sample(images.cpu(), grid.cpu(), interpolation, "reflection")
    torch.testing.assert_close(found[0][0].cpu(), own, rtol=1e-4, atol=1e-4)


@pytest.fixture
def sampler_of(monkeypatch):
    """A function that makes a sampler; blocks hold whole images, since the interpreter is slow."""
    monkeypatch.setattr(cuda, "_GATHERED", 4096)

    def made(images, places, method, pixels=Pixels()):  # noqa: B008
        return CudaSampler(Sizes(*images.shape, *places.shape[1:3]), method, pixels)

    return made


def drawn(shape, dtype, reach=3.0, rows=2, columns=3):
    """Images, and places from -reach to reach; some of them are no places, others are pixels."""
    rng = np.random.default_rng(sum(shape))
    images = torch.from_numpy(rng.standard_normal(shape)).to(dtype)
    places = torch.from_numpy(rng.uniform(-reach, reach, (shape[0], rows, columns, 2))).to(dtype)
    places[0, 0, 0] = torch.tensor([torch.nan, 0.5])
    places[-1, 0, 1] = torch.tensor([0.5, torch.inf])
    places[0, 1, 0] = torch.tensor([1.0, 0.0])
    places[0, 1, 2] = -places[0, 1, 2].round()
    return images.to(DEVICE), places.to(DEVICE)


def known(images, places, method, pixels, given):
    """What the reference finds, and its gradients."""
    operands = images.clone().requires_grad_(), places.clone().requires_grad_()
    outputs = reference.sample(operands[0], as_pixels(operands[1], pixels), method)
    return outputs.detach(), *torch.autograd.grad(outputs, operands, given, allow_unused=True, materialize_grads=True)


CASES = [
    *((way, padding, (2, 5, 3, 3), torch.float64) for way in INTERPOLATIONS for padding in PADDINGS),
    ("nearest", "reflection", (1, 1, 4, 5), torch.float32),
    ("bilinear", "zeros", (2, 3, 1, 1), torch.float32),
    ("bilinear", "border", (1, 1, 5, 5), torch.float32),
    ("bilinear", "mirror", (1, 2, 1, 1), torch.float32),
    ("bilinear", "wrap", (1, 2, 7, 5), torch.float32),
    ("bicubic", "reflection", (1, 3, 1, 5), torch.float32),
]


@pytest.mark.parametrize(("interpolation", "padding", "shape", "dtype"), CASES)
def check_numbers_and_gradients_are_the_references(sampler_of, interpolation, padding, shape, dtype):
    images, places = drawn(shape, dtype)
    method, pixels = Method(interpolation, padding), pixels_from_extent(shape[1:3], padding == "mirror")
    given = torch.randn(*places.shape[:3], shape[3], dtype=dtype, device=DEVICE)
    sampler = sampler_of(images, places, method, pixels)
    ours = sampler.forward(images, places), *sampler.backward(images, places, given, True, True)
    peer = known(images, places, method, pixels, given)
    exact = known(images.double(), places.double(), method, pixels, given.double())
    assert torch.equal(ours[0].isnan(), peer[0].isnan())
    assert int(peer[0].isnan().sum()) == 2 * shape[3]
    for name, own, other, truth in zip(("outputs", "images", "places"), ours, peer, exact, strict=True):
        floor = 1e-13 if dtype == torch.float64 else 3e-7
        assert_as_exact_as(other.nan_to_num(), own.nan_to_num(), truth.nan_to_num(), f"{method} {name}", floor)


@pytest.mark.parametrize("padding", PADDINGS)
def check_places_far_away(sampler_of, padding):
    images, _ = drawn((1, 4, 5, 2), torch.float32)
    places = torch.tensor([[[[1e30, -1e30], [-3e9, 5e12]]]], device=DEVICE)
    given = torch.ones(1, 1, 2, 2, device=DEVICE)
    method = Method("bilinear", padding)
    sampler = sampler_of(images, places, method)
    found, (of_images, _) = sampler.forward(images, places), sampler.backward(images, places, given, True, False)
    outputs, gradient, _ = known(images, places, method, Pixels(), given)
    assert torch.equal(found, outputs)
    assert torch.equal(of_images, gradient)


@pytest.mark.parametrize(
    ("interpolation", "padding"), [("nearest", "wrap"), ("bilinear", "zeros"), ("bicubic", "mirror")]
)
def check_pixels_are_themselves_to_the_last_bit(sampler_of, interpolation, padding):
    images, _ = drawn((1, 5, 6, 3), torch.float32)
    y, x = torch.meshgrid(torch.arange(5.0), torch.arange(6.0), indexing="ij")
    places = torch.stack([x, y], -1)[None].to(DEVICE)
    assert torch.equal(sampler_of(images, places, Method(interpolation, padding)).forward(images, places), images)


def check_many_places_of_a_cell_are_added_in_their_order(sampler_of):
    rng = np.random.default_rng(0)
    images, given = torch.zeros(1, 3, 3, 1), torch.from_numpy(rng.standard_normal((1, 4, 5, 1)).astype("float32"))
    places = torch.from_numpy(rng.uniform(1, 2, (1, 4, 5, 2)).astype("float32"))
    sampler = sampler_of(images, places, Method("bilinear", "border"))
    (found, _) = sampler.backward(images.to(DEVICE), places.to(DEVICE), given.to(DEVICE), True, False)
    expected = np.zeros((3, 3), np.float32)
    parts = places.numpy().reshape(-1, 2) - np.float32(1)
    for (t_x, t_y), own in zip(parts, given.numpy().ravel(), strict=True):
        for row, weight_y in ((1, 1 - t_y), (2, t_y)):
            for column, weight_x in ((1, 1 - t_x), (2, t_x)):
                expected[row, column] += own * (weight_y * weight_x)
    np.testing.assert_array_equal(found.cpu().numpy()[0, :, :, 0], expected)


def check_neither_runs_nor_sizes_of_blocks_change_a_bit(sampler_of, monkeypatch):
    images, places = drawn((1, 3, 3, 5), torch.float32, columns=5)
    given, method = torch.randn(1, 2, 5, 5, device=DEVICE), Method("bilinear", "wrap")

    def found():
        sampler = sampler_of(images, places, method)
        return sampler.forward(images, places).nan_to_num(), *sampler.backward(images, places, given, True, True)

    first = found()
    for name, value in (("_BLOCK", 32), ("_GATHERED", 128), ("_NARROW", 0)):
        monkeypatch.setattr(cuda, name, value)
    for own, other in zip(found(), first, strict=True):
        assert torch.equal(own, other)
    monkeypatch.setattr(cuda, "_LANES", 2)  # the sum over channels has then another order
    outputs, of_images, of_places = found()
    assert torch.equal(outputs, first[0])
    assert torch.equal(of_images, first[1])
    torch.testing.assert_close(of_places, first[2])


@pytest.fixture
def _on_any_device(monkeypatch):
    """The operation takes these kernels on the CPU, too."""
    monkeypatch.setattr(operation._Plan, "sampler", lambda self, *tensors: cuda.cuda_sampler(*self._arguments[:3]))


@pytest.mark.usefixtures("_on_any_device", "sampler_of")
def check_gradients_are_differences():
    rng = np.random.default_rng(1)
    images = torch.from_numpy(rng.standard_normal((1, 2, 3, 2))).to(DEVICE).requires_grad_()
    whole = torch.from_numpy(rng.integers(-2, 4, (1, 1, 3, 2))) + 0.0
    places = (whole + torch.from_numpy(rng.uniform(0.1, 0.4, whole.shape))).to(DEVICE).requires_grad_()
    call = lambda *operands: kernels.sampling.sample(*operands, "bilinear", "reflection")  # noqa: E731
    assert torch.autograd.gradcheck(call, (images, places), fast_mode=True, check_undefined_grad=False)


@pytest.mark.usefixtures("_on_any_device", "sampler_of")
def check_gradients_of_gradients():
    images, places = (part.requires_grad_() for part in drawn((1, 4, 5, 2), torch.float64))
    found = []
    for outputs in (
        kernels.sampling.sample(images, places),
        reference.sample(images, places, Method("bilinear", "zeros")),
    ):
        first = torch.autograd.grad(outputs.nan_to_num().square().sum(), (images, places), create_graph=True)
        found.append(torch.autograd.grad(sum(part.square().sum() for part in first), (images, places)))
    for own, other in zip(*found, strict=True):
        torch.testing.assert_close(own, other)


if __name__ == "__main__":
    compile_kernels()
