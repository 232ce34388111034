"""Every layer as the first of a model: types, orders of memory, batch sizes, policies and threads leave its numbers.

The value to be right is that of the plain way: float32 (or int32) in one piece, one sample after the other.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
import torch
from conformance import Row, random_weights
from test_layers import ROWS

import triarch

SAMPLES = 5
OF_THE_IMAGES_TYPE = ("Resizing",)  # layers that round what they make of whole numbers to whole numbers
BITS = {"float16": 11, "bfloat16": 8, "mixed_float16": 11, "mixed_bfloat16": 8, "float64": 24}  # of the significand

NUMBER_TYPES = ["bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float16", "float64"]
OTHER_ORDERS = [">i4", ">u2", ">f4", ">f8"]

every_row = pytest.mark.parametrize("row", ROWS, ids=str)


def _model(row: Row, dtype: str | None = None) -> triarch.Sequential:
    """A model of the row's layer, with weights that depend on nothing but their shapes."""
    layers = [triarch.layers.Input(row.shape, dtype=row.dtype), row.make(dtype=dtype)]
    model = triarch.Sequential(layers)
    model.set_weights(random_weights(model, np.random.default_rng(1)))
    return model


def _whole_numbers(row: Row, rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 5, size=(SAMPLES, *row.shape))


@every_row
def test_a_batch_is_its_samples(row, rng):
    model, x = _model(row), row.inputs(rng, SAMPLES)
    each = np.concatenate([model.predict(x[i : i + 1], verbose=0) for i in range(SAMPLES)])
    whole = model(torch.from_numpy(x)).detach().numpy()
    for found in (whole, *(model.predict(x, batch_size=size, verbose=0) for size in (1, 2, 32))):
        np.testing.assert_allclose(found, each, rtol=1e-5, atol=1e-5)
    empty = model(torch.from_numpy(x[:0]))
    assert tuple(empty.shape) == (0, *each.shape[1:])


@every_row
@pytest.mark.parametrize("declared", ["floats", "as given", "not"])
def test_number_types_of_inputs(row, declared, rng):
    """With an `Input` that says a type, and without one."""
    model = _model(row)
    numbers = _whole_numbers(row, rng)
    for given in NUMBER_TYPES + OTHER_ORDERS:
        x = numbers % 2 if given == "bool" else numbers
        right = model.predict(x.astype(row.dtype), verbose=0)
        asked = model if declared == "floats" else _declared(row, model, given if declared == "as given" else None)
        for found in (asked.predict(x.astype(given), verbose=0), asked(x.astype(given)).detach().numpy()):
            wanted, error = right, 1e-5
            if row.layer in OF_THE_IMAGES_TYPE and found.dtype.kind in "biu":
                limits = np.iinfo(found.dtype) if found.dtype.kind in "iu" else np.iinfo("uint8")
                wanted, error = right.clip(limits.min, 1 if found.dtype.kind == "b" else limits.max), 0.501
            np.testing.assert_allclose(found.astype(np.float64), wanted, rtol=1e-5, atol=error, err_msg=given)


def _declared(row: Row, model: triarch.Sequential, dtype: str | None) -> triarch.Sequential:
    """The same layer behind an `Input` of this type, or in a model that is built by its first data."""
    layer = row.make()
    layer.build((None, *row.shape))
    layer.set_weights(model.get_weights())
    if dtype is None:
        return triarch.Sequential([layer])
    return triarch.Sequential([triarch.layers.Input(row.shape, dtype=np.dtype(dtype).newbyteorder("=").name), layer])


@every_row
def test_forms_of_inputs(row, rng):
    x = _whole_numbers(row, rng).astype(row.dtype)
    model = _model(row)
    right = model.predict(x, verbose=0)
    twice = np.repeat(x, 2, axis=0)
    read_only = x.copy()
    read_only.flags.writeable = False
    forms: dict[str, Any] = {
        "reversed": x[::-1].copy()[::-1],
        "mirrored": x[..., ::-1].copy()[..., ::-1] if x.ndim > 1 else x,
        "every second": twice[::2],
        "Fortran": np.asfortranarray(x),
        "read-only": read_only,
        "lists": x.tolist(),
        "tensor": torch.from_numpy(x),
        "tensor of strides": torch.from_numpy(twice)[::2],
    }
    for name, form in forms.items():
        np.testing.assert_allclose(model.predict(form, verbose=0), right, rtol=1e-6, atol=1e-6, err_msg=name)
        if name != "lists":
            np.testing.assert_allclose(model(form).detach().numpy(), right, rtol=1e-5, atol=1e-5, err_msg=name)


@every_row
@pytest.mark.parametrize("policy", BITS)
def test_policies(row, policy, rng):
    x = _whole_numbers(row, rng).astype(row.dtype)
    right, model = _model(row).predict(x, verbose=0), _model(row, policy)
    before = [weight.dtype for weight in model.weights]
    found = model.predict(x, verbose=0).astype(np.float32)
    size = max(1.0, float(np.abs(right).max()))
    np.testing.assert_allclose(found, right, rtol=0, atol=size * max(8 * 2.0 ** -BITS[policy], 1e-5))
    assert [weight.dtype for weight in model.weights] == before
    assert all(weight.requires_grad for weight in model.trainable_weights)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
@every_row
def test_threads(row, policy, rng):
    """Four threads predict at the same time, each its own samples."""
    model = _model(row, policy)
    given = [row.inputs(np.random.default_rng(seed), SAMPLES) for seed in range(4)]
    right = [model.predict(x, verbose=0) for x in given]
    found: dict[int, list[np.ndarray]] = {number: [] for number in range(4)}
    start = threading.Barrier(4)

    def work(number: int) -> None:
        start.wait()
        for _ in range(3):
            found[number].append(model.predict_on_batch(given[number]))
            found[number].append(model(torch.from_numpy(given[number])).detach().float().numpy())

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, outputs in found.items():
        assert len(outputs) == 6
        for output in outputs:
            np.testing.assert_allclose(output.astype(np.float32), right[number], rtol=1e-5, atol=1e-5)
    assert all(weight.dtype is torch.float32 for weight in model.weights)
