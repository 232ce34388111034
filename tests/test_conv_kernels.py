"""The methods of layers' convolutions against torch in double precision, and what the choice among them promises."""

from __future__ import annotations

import math
import multiprocessing
import os
import threading
from contextlib import contextmanager

import pytest
import torch
from tolerances import assert_as_exact_as

from triarch import convolution, kernels, layers
from triarch.kernels import ConvSpec, Rectifier, Window
from triarch.kernels.conv import choice
from triarch.kernels.conv.depthwise import planes as depthwise_planes
from triarch.kernels.conv.methods import METHODS
from triarch.kernels.conv.narrow import plan as narrow_plan
from triarch.kernels.conv.patches import plan as patches_plan
from triarch.kernels.conv.winograd import plan as winograd_plan
from triarch.kernels.conv.winograd.matrices import amplification
from triarch.kernels.native import team
from triarch.kernels.native.workspaces import workspace

OWN = [name for name in METHODS if name != "direct"]
LINEAR = torch.Tensor.contiguous  # leaves the outputs as they are
NAMES = ("outputs", "input gradient", "kernel gradient", "bias gradient")

LAYERS = [  # shape, filters, window, groups, strides, dilation, padding, finish
    ((2, 9, 7, 5), 3, (3, 3), 1, 1, 1, "same", Rectifier()),
    ((3, 14, 13, 16), 32, (3, 3), 1, 1, 1, "valid", LINEAR),
    ((2, 8, 9, 16), 32, (3, 3), 2, 1, 1, "same", Rectifier(0.2)),
    ((1, 5, 6, 20), 33, (3, 3), 1, 1, 1, "valid", Rectifier(0.0, 1.0)),
    ((2, 12, 13, 8), 8, (5, 5), 1, 1, 1, "same", LINEAR),
    ((2, 9, 9, 8), 8, (5, 3), 1, 1, 1, "same", Rectifier(0.1, 2.0)),
    ((2, 3, 3, 8), 8, (3, 3), 1, 1, 1, "valid", LINEAR),
    ((4, 30, 16), 16, (3,), 1, 1, 1, "same", Rectifier()),
    ((3, 50, 4), 6, (7,), 1, 1, 1, "causal", LINEAR),
    ((2, 11, 9, 1), 5, (3, 3), 1, 1, 1, "valid", Rectifier()),
    ((2, 11, 9, 2), 9, (4, 3), 1, 1, 2, "same", Rectifier(0.3, 1.0)),
    ((2, 11, 9, 6), 4, (3, 3), 1, 2, 1, "same", Rectifier()),
    ((2, 11, 9, 6), 4, (3, 2), 2, 1, 2, "valid", LINEAR),
    ((2, 5, 7, 3), 17, (1, 1), 1, 2, 1, "same", LINEAR),
    ((1, 4, 5, 6, 2), 3, (3, 2, 3), 1, 1, 1, "same", Rectifier()),
    ((2, 19, 17, 13), 13, (3, 5), 13, 1, 1, "same", Rectifier()),
    ((2, 19, 17, 8), 8, (3, 5), 8, 2, 1, "valid", LINEAR),
    ((2, 40, 9), 9, (11,), 9, 1, 2, "same", Rectifier()),
    ((2, 21, 22, 11), 11, (7, 9), 11, 1, 1, "same", Rectifier(0.1)),
    ((1, 12, 15, 3), 3, (5, 4), 3, 1, 1, "valid", LINEAR),
    ((2, 10, 70, 8), 8, (3, 33), 8, 1, 1, "same", Rectifier(0.0, 1.0)),
    ((3, 90, 9), 9, (21,), 9, 1, 1, "causal", Rectifier()),
    ((1, 1, 1, 1), 1, (3, 3), 1, 1, 1, "same", LINEAR),
    ((0, 8, 8, 16), 16, (3, 3), 1, 1, 1, "same", Rectifier()),
]


@pytest.fixture(autouse=True)
def _poisoned_memory(monkeypatch):
    """Whatever a kernel reads before it has written it is NaN."""

    @contextmanager
    def poisoned(count, dtype):
        with workspace(count, dtype) as memory:
            yield memory.fill_(math.nan)

    for plan in (depthwise_planes, narrow_plan, patches_plan, winograd_plan):
        monkeypatch.setattr(plan, "workspace", poisoned)


def spec_of(shape, filters, sizes, groups, strides, dilation, padding, finish, dtype=torch.float32, **rest) -> ConvSpec:
    rank = len(sizes)
    window = Window(sizes, (strides,) * rank, (dilation,) * rank, padding, "channels_last", shape[-1])
    return ConvSpec(shape, window, groups, filters, finish, dtype, threads=torch.get_num_threads(), **rest)


def window_for(method: str, channels: int) -> tuple[tuple[int, int], int]:
    """Taps and groups of a layer with as many filters as channels that the method can do."""
    return (3, 4 if method == "winograd_depthwise" else 3), channels if "depthwise" in method else 1


def operands(spec: ConvSpec, dtype: torch.dtype) -> list[torch.Tensor]:
    """Inputs, a kernel in the order of memory that layers give it, and a bias."""
    generator = torch.Generator().manual_seed(3)
    sizes = (spec.filters, *spec.window.sizes, spec.channels // spec.groups)
    shapes = (spec.shape, sizes, (spec.filters,))
    inputs, kernel, bias = (torch.randn(shape, generator=generator).to(dtype) for shape in shapes)
    return [part.requires_grad_() for part in (inputs, kernel.movedim(0, -1), bias)]


def results(convolve, spec: ConvSpec, dtype: torch.dtype) -> list[torch.Tensor]:
    """Outputs and gradients; where a rectifier bends, numbers of both sides are left out of the gradient."""
    parts = operands(spec, dtype)
    outputs = convolve(*parts)
    seed = torch.randn(outputs.shape, generator=torch.Generator().manual_seed(4)).to(dtype)
    if spec.rectifier is not None:
        value = outputs.detach()
        seed = seed * ((value.abs() > 1e-4) & ((value - spec.rectifier.cap).abs() > 1e-4) | (value == 0))
    return [outputs, *torch.autograd.grad(outputs, parts, seed)]


@pytest.mark.parametrize("layer", LAYERS, ids=str)
@pytest.mark.parametrize("method", OWN)
def test_outputs_and_gradients(method, layer):
    spec = spec_of(*layer)
    if METHODS[method].refuse(spec) is not None:
        pytest.skip(METHODS[method].refuse(spec))
    truth = results(METHODS["direct"].plan(spec), spec._replace(dtype=torch.float64), torch.float64)
    peer = results(METHODS["direct"].plan(spec), spec, torch.float32)
    ours = results(METHODS[method].plan(spec), spec, torch.float32)
    factor = 1.0
    if method == "winograd_depthwise":  # derived in docs/numerics.md
        factor = amplification(4, 4)
    elif method.startswith("winograd"):
        factor = math.prod(amplification(int(method[-1]), taps) for taps in spec.window.sizes if taps > 1)
    for name, *values in zip(NAMES, peer, ours, truth, strict=True):
        assert_as_exact_as(*values, name, amplification=factor)


@pytest.mark.parametrize("layer", LAYERS, ids=str)
@pytest.mark.parametrize("method", OWN)
def test_double_precision(method, layer):
    spec = spec_of(*layer, dtype=torch.float64)
    if METHODS[method].refuse(spec) is not None:
        pytest.skip(METHODS[method].refuse(spec))
    if method.startswith("winograd") and set(spec.window.sizes) != {3}:
        pytest.skip("other tiles are held by single precision: each takes seconds to compile")
    truth = results(METHODS["direct"].plan(spec), spec, torch.float64)
    ours = results(METHODS[method].plan(spec), spec, torch.float64)
    for name, ours_of, truth_of in zip(NAMES, ours, truth, strict=True):
        torch.testing.assert_close(
            ours_of, truth_of, rtol=1e-11, atol=1e-11, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.mark.parametrize("method", OWN)
def test_gradients_by_differences(method):
    shape, filters = ((1, 5, 6, 4), 4) if "depthwise" in method else ((1, 5, 6, 2), 3)
    sizes, groups = window_for(method, filters)
    spec = spec_of(shape, filters, sizes, groups, 1, 1, "same", LINEAR, dtype=torch.float64)
    convolve = METHODS[method].plan(spec)
    assert torch.autograd.gradcheck(convolve, operands(spec, torch.float64))
    assert torch.autograd.gradgradcheck(convolve, operands(spec, torch.float64))


@pytest.mark.parametrize("method", OWN)
def test_second_gradients_through_a_rectifier(method):
    sizes, groups = window_for(method, 4)
    spec = spec_of((1, 5, 6, 4), 4, sizes, groups, 1, 1, "same", Rectifier(0.1), dtype=torch.float64)
    found = []
    for name in ("direct", method):
        parts = operands(spec, torch.float64)
        loss = METHODS[name].plan(spec)(*parts).square().sum()
        (first,) = torch.autograd.grad(loss, parts[0], create_graph=True)
        found.append(torch.autograd.grad(first.square().sum(), parts))
    torch.testing.assert_close(found[1], found[0])


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", ["inputs", "kernel"])
@pytest.mark.parametrize("method", OWN)
def test_what_is_not_finite_spreads_as_in_the_direct_sum(method, place, value):
    sizes, groups = window_for(method, 8)
    spec = spec_of((2, 13, 11, 8), 8, sizes, groups, 1, 1, "same", LINEAR)
    found = []
    for name in ("direct", method):
        inputs, kernel, bias = (part.detach().clone() for part in operands(spec, torch.float32))
        {"inputs": inputs[1, 6, 5], "kernel": kernel[1, 1, 0]}[place][0] = value
        found.append(METHODS[name].plan(spec)(inputs, kernel, bias))
    torch.testing.assert_close(found[1], found[0], equal_nan=True, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("method", OWN)
def test_inputs_that_are_not_contiguous(method):
    sizes, groups = window_for(method, 8)
    spec = spec_of((2, 9, 10, 8), 8, sizes, groups, 1, 1, "same", Rectifier())
    inputs, kernel, bias = operands(spec, torch.float32)
    convolve = METHODS[method].plan(spec)
    expected = convolve(inputs, kernel, bias)
    gradients = torch.autograd.grad(expected.mean((1, 2)).sum(), (inputs, kernel, bias))  # an expanded gradient arrives
    views = [
        inputs.detach().permute(3, 1, 2, 0).contiguous().permute(3, 1, 2, 0),
        torch.stack([inputs.detach()] * 2, 2)[:, :, 0],
        torch.cat([inputs.detach()] * 2, -1)[..., :8],
    ]
    for view in views:
        view.requires_grad_()
        outputs = convolve(view, kernel.detach().contiguous().requires_grad_(), bias)
        torch.testing.assert_close(outputs, expected, rtol=1e-5, atol=1e-5)  # the vendor's sums depend on strides
        (found,) = torch.autograd.grad(outputs.mean((1, 2)).sum(), view)
        torch.testing.assert_close(found, gradients[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("method", OWN)
@pytest.mark.parametrize("learnt", [(0,), (1,), (2,), (0, 2), (1, 2)])
def test_only_what_is_wanted_is_computed(method, learnt):
    sizes, groups = window_for(method, 8)
    spec = spec_of((2, 9, 10, 8), 8, sizes, groups, 1, 1, "same", Rectifier())
    whole = results(METHODS[method].plan(spec), spec, torch.float32)
    parts = [part.detach() for part in operands(spec, torch.float32)]
    for place in learnt:
        parts[place].requires_grad_()
    outputs = METHODS[method].plan(spec)(*parts)
    seed = torch.randn(outputs.shape, generator=torch.Generator().manual_seed(4))
    seed = seed * ((outputs.detach().abs() > 1e-4) | (outputs.detach() == 0))
    found = torch.autograd.grad(outputs, [parts[place] for place in learnt], seed)
    for place, gradient in zip(learnt, found, strict=True):
        torch.testing.assert_close(gradient, whole[1 + place])


@pytest.mark.parametrize("method", OWN)
def test_same_numbers_every_time(method):
    """For a given number of threads results are the same to the last bit; in two Python threads at once as well."""
    sizes, groups = window_for(method, 8)
    spec = spec_of((6, 17, 18, 8), 8, sizes, groups, 1, 1, "same", Rectifier())
    first = results(METHODS[method].plan(spec), spec, torch.float32)
    found: list[list[torch.Tensor]] = []

    def work() -> None:
        for _ in range(5):
            found.append(results(METHODS[method].plan(spec), spec, torch.float32))

    workers = [threading.Thread(target=work) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(found) == 10
    for other in found:
        assert all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_without_openmp(monkeypatch):
    """Where torch runs on another library than GNU's, threads of Python's take the parts."""
    spec = spec_of((6, 17, 18, 8), 8, (3, 3), 1, 1, 1, "same", Rectifier())._replace(threads=2)
    for method in ("winograd_4", "patches"):
        with monkeypatch.context() as patched:
            expected = results(METHODS[method].plan(spec), spec, torch.float32)
            patched.setattr(team, "_openmp", lambda: None)
            found = results(METHODS[method].plan(spec), spec, torch.float32)
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_any_number_of_threads(threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for method in OWN:
            sizes, groups = window_for(method, 8)
            spec = spec_of((5, 9, 10, 8), 8, sizes, groups, 1, 1, "same", Rectifier())
            assert spec.threads == threads
            truth = results(METHODS["direct"].plan(spec), spec, torch.float32)
            for name, ours, direct in zip(
                NAMES, results(METHODS[method].plan(spec), spec, torch.float32), truth, strict=True
            ):
                torch.testing.assert_close(
                    ours, direct, rtol=1e-4, atol=1e-4, msg=lambda text, name=name: f"{name}: {text}"
                )
    finally:
        torch.set_num_threads(before)


def _child(queue) -> None:
    spec = spec_of((4, 13, 14, 8), 8, (3, 3), 1, 1, 1, "same", Rectifier())
    with torch.no_grad():
        parts = [part.detach() for part in operands(spec, torch.float32)]
        queue.put([METHODS[name].plan(spec)(*parts).double().sum().item() for name in ("winograd_4", "patches")])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_in_child_processes(start):
    spec = spec_of((4, 13, 14, 8), 8, (3, 3), 1, 1, 1, "same", Rectifier())
    with torch.no_grad():
        parts = [part.detach() for part in operands(spec, torch.float32)]
        expected = [METHODS[name].plan(spec)(*parts).double().sum().item() for name in ("winograd_4", "patches")]
    context = multiprocessing.get_context(start)
    queue = context.Queue()
    child = context.Process(target=_child, args=(queue,))
    child.start()
    try:
        assert queue.get(timeout=120) == pytest.approx(expected, rel=1e-6)
    finally:
        child.join(timeout=30)
    assert child.exitcode == 0


class _Features(torch.utils.data.Dataset):
    """What a layer sees in inputs, computed where the inputs are made."""

    def __init__(self, layer: layers.Conv2D) -> None:
        self.layer = layer

    def __len__(self) -> int:
        return 6

    def __getitem__(self, number: int) -> torch.Tensor:
        inputs = torch.randn(1, 12, 12, 8, generator=torch.Generator().manual_seed(number))
        with torch.no_grad(), kernels.use("winograd_4"):
            return self.layer(inputs)[0]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_in_the_workers_of_a_data_loader(start):
    layer = layers.Conv2D(8, 3, activation="relu")
    layer(torch.zeros(1, 12, 12, 8))
    features = _Features(layer)
    expected = torch.stack([features[number] for number in range(len(features))])
    loader = torch.utils.data.DataLoader(features, batch_size=2, num_workers=2, multiprocessing_context=start)
    torch.testing.assert_close(torch.cat(list(loader)), expected, rtol=1e-6, atol=1e-6)


def test_a_method_can_be_asked_for():
    layer = layers.Conv2D(8, 3, activation="relu")
    inputs = torch.randn(2, 12, 12, 8)
    expected = layer(inputs)
    for method in ("winograd_2", "winograd_4", "patches", "fourier", "direct"):
        with kernels.use(method):
            torch.testing.assert_close(layer(inputs), expected, rtol=1e-4, atol=1e-4)
    with kernels.use("depthwise"), pytest.raises(ValueError, match="cannot be computed by method 'depthwise'"):
        layer(inputs)
    with pytest.raises(ValueError, match="method must be"), kernels.use("fast"):
        pass


def test_the_choice_can_be_asked():
    spec = spec_of((128, 26, 26, 64), 64, (3, 3), 1, 1, 1, "valid", Rectifier(), calls=1000)
    rows = choice.explain(spec).candidates
    assert [row.method for row in rows if row.reason == "chosen"] == [rows[0].method]
    assert rows[0].method == choice.choose(spec) == "winograd_4"
    assert {row.method for row in rows} == set(METHODS)
    assert any(row.reason.startswith("cannot: ") for row in rows)
    assert any(row.reason.endswith("times as long") for row in rows)


def test_a_layer_can_be_asked():
    layer = layers.Conv2D(64, 3, activation="relu", name="second")
    table = str(convolution.explain(layer, (128, 26, 26, 64)))
    assert table.splitlines()[0] == ("128×26×26×64 -> 128×24×24×64 by 3×3, training in float32 on cpu: winograd_4")
    assert all(method in table for method in METHODS)
    with pytest.raises(ValueError, match="does not fit"):
        convolution.explain(layer, (128, 2, 2, 64))


def test_small_jobs_are_left_to_the_vendor():
    small = spec_of((1, 8, 8, 8), 8, (3, 3), 1, 1, 1, "valid", Rectifier(), calls=10)
    assert choice.choose(small) == "direct"
    large = spec_of((128, 26, 26, 64), 64, (3, 3), 1, 1, 1, "valid", Rectifier(), calls=1)
    assert choice.choose(large) == "direct"
    assert any(
        "gains too little to earn its start in 1 calls" in row.reason for row in choice.explain(large).candidates
    )


def test_a_job_says_how_often_it_calls():
    untold = choice.expected_calls()
    with kernels.expecting(3000):
        told = choice.expected_calls()
        with kernels.expecting(10):  # a part of the job: validation during training
            assert choice.expected_calls() == told
    assert told >= 3000
    assert choice.expected_calls() == untold


@pytest.mark.parametrize("rectifier", [Rectifier(), Rectifier(0.2), Rectifier(cap=6.0), Rectifier(0.1, 2.0)])
def test_rectifiers(rectifier):
    values = torch.linspace(-9, 9, 37, dtype=torch.float64).requires_grad_()
    outputs = rectifier(values.clone())
    expected = values.clamp(min=0).clamp(max=rectifier.cap) + rectifier.slope * values.clamp(max=0)
    torch.testing.assert_close(outputs, expected)
    (through_torch,) = torch.autograd.grad(outputs.sum(), values)
    ours = rectifier.gradient(torch.ones_like(values), outputs.detach())
    off_the_bends = (values != 0) & (values != rectifier.cap)
    torch.testing.assert_close(ours[off_the_bends], through_torch[off_the_bends])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.complex64])
def test_other_types_are_left_to_the_vendor(dtype):
    spec = spec_of((128, 26, 26, 64), 64, (3, 3), 1, 1, 1, "valid", LINEAR, dtype=dtype, calls=10**6)
    assert choice.choose(spec) == "direct"


def test_compiled_models_and_transformations():
    """Where a compiler or a transformation looks on, torch's own operations are what it sees."""
    layer = layers.Conv2D(8, 3, activation="relu")
    inputs = torch.randn(3, 12, 12, 8)
    with kernels.use("winograd_4"):
        expected = layer(inputs)
        compiled = torch.compile(layer, backend="eager", fullgraph=True)
        torch.testing.assert_close(compiled(inputs), expected, rtol=1e-4, atol=1e-4)
        one_by_one = torch.func.vmap(lambda image: layer(image[None])[0])(inputs)
        torch.testing.assert_close(one_by_one, expected, rtol=1e-4, atol=1e-4)
    with kernels.use("winograd_4"):
        without_numbers = kernels.convolve(
            inputs.to("meta"), layer.kernel.to("meta"), None, layer._window, 1, Rectifier()
        )
    assert without_numbers.shape == expected.shape
