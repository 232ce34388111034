"""A stack of dense layers: outputs, loss, gradients and the update of the weights in one call.

A label that is none, and numbers that are not finite, end a call before anything is changed.

Legend: rows of the batch, features and units of a layer; X inputs, W kernel, b bias, Y = φ(X W + b), φ a rectifier.
Backward, with ′ for gradients of the loss: W′ = Xᵀ Y′, b′ = Σ_rows Y′, X′ = Y′ Wᵀ, each Y′ first through φ. With every
kind of targets t the gradient of what the last layer gives is c (p - t), p what the model gives.
"""

from __future__ import annotations

from collections.abc import Callable
from math import exp, isfinite, log, log1p
from typing import Any

import numpy as np
from numba import carray

from triarch.kernels.matmul.tile import multiply_tile
from triarch.kernels.native.registers import ROWS, VECTORS
from triarch.kernels.native.runs import copy, zero
from triarch.kernels.native.vectors import at, inlined, lanes_of, shifted
from triarch.kernels.perceptron.descent import follow
from triarch.kernels.perceptron.job import Pass, Target

_EVALUATE, _DIFFERENTIATE, _LEARN = int(Pass.EVALUATE), int(Pass.DIFFERENTIATE), int(Pass.LEARN)
_CLASSES, _DISTRIBUTIONS, _DECISIONS = int(Target.CLASSES), int(Target.DISTRIBUTIONS), int(Target.DECISIONS)


@inlined
def _multiply(panel, a, a_row, a_step, b, b_step, c, rows, columns, depth, scratch_a, scratch_b, scratch_c):
    """`c[i * columns + j] = Σ_s a[i * a_row + s * a_step] b[s * b_step + j]`.

    The last tiles of rows and columns reach back over those before them. What is smaller than a tile is brought to its
    size in the scratch memory.
    """
    is_small = rows < ROWS or columns < panel
    if rows < ROWS:
        for s in range(depth):
            for i in range(ROWS):
                scratch_a[s * ROWS + i] = a[i * a_row + s * a_step] if i < rows else 0.0
        a, a_row, a_step = scratch_a, 1, ROWS
    if columns < panel:
        for s in range(depth):
            copy(shifted(b, s * b_step), shifted(scratch_b, s * panel), columns)
            zero(shifted(scratch_b, s * panel + columns), panel - columns)
        b, b_step = scratch_b, panel
    tall, wide = max(rows, ROWS), max(columns, panel)
    target = scratch_c if is_small else c
    for j in range(0, wide, panel):
        column = min(j, wide - panel)
        for i in range(0, tall, ROWS):
            row = min(i, tall - ROWS)
            multiply_tile(
                False, shifted(a, row * a_row), a_row, a_step, shifted(b, column), b_step,
                shifted(target, row * wide + column), wide, depth,
            )  # fmt: skip
    if is_small:
        for i in range(rows):
            copy(shifted(scratch_c, i * wide), shifted(c, i * columns), columns)


@inlined
def _rectify(numbers, bias, has_bias, slope, cap, rows, units):
    """Add the bias and rectify; slope 1 and cap NaN leave numbers as they are."""
    for row in range(rows):
        line = shifted(numbers, row * units)
        if has_bias:
            for unit in range(units):
                line[unit] += bias[unit]
        for unit in range(units):
            value = line[unit]
            value = value * slope if value < 0 else value
            line[unit] = cap if value > cap else value


@inlined
def _rectify_gradient(gradient, outputs, slope, cap, count):
    """The gradient of what was rectified, from that of the outputs."""
    for number in range(count):
        value = gradient[number]
        value = value * slope if outputs[number] <= 0 else value
        gradient[number] = value * 0 if outputs[number] >= cap else value


@inlined
def _sum_rows(numbers, rows, units, target):
    zero(target, units)
    for row in range(rows):
        line = shifted(numbers, row * units)
        for unit in range(units):
            target[unit] += line[unit]


@inlined
def _transpose(numbers, rows, columns, target):
    for column in range(columns):
        line = shifted(target, column * rows)
        for row in range(rows):
            line[row] = numbers[row * columns + column]


@inlined
def _highest(numbers, count):
    """Where the highest number is, the first of equal ones."""
    place = 0
    for number in range(1, count):
        if numbers[number] > numbers[place]:
            place = number
    return place


@inlined
def _softmax(logits, units, target):
    """The probabilities, and the logarithm of what the exponentials had to be divided by."""
    largest = logits[_highest(logits, units)]
    total = largest * 0
    for unit in range(units):
        value = exp(logits[unit] - largest)
        target[unit] = value
        total += value
    for unit in range(units):
        target[unit] /= total
    return largest + log(total)


@inlined
def _finish(kind, logits, units, target):
    """What the model gives for a row of logits."""
    if kind in (_CLASSES, _DISTRIBUTIONS):
        _softmax(logits, units, target)
    elif kind == _DECISIONS:
        for unit in range(units):
            small = exp(-abs(logits[unit]))
            target[unit] = (1 if logits[unit] >= 0 else small) / (1 + small)
    else:
        copy(logits, target, units)


@inlined
def _are_finite(numbers, count):
    """Whether no number is infinite or NaN."""
    spoilt = numbers[0] * 0
    for number in range(count):
        spoilt += numbers[number] * 0
    return spoilt == 0


@inlined
def _are_classes(labels, rows, units):
    """Whether every label is the number of an output."""
    wrong = 0
    for row in range(rows):
        wrong += labels[row] < 0 or labels[row] >= units
    return wrong == 0


@inlined
def _compare(kind, logits, outputs, labels, values, rows, units, threshold, gradient, factor):
    """The sum of the losses and of the hits; the gradient of the logits is written, `factor` times that of the sum.

    `labels` are class numbers, `values` the other kinds of targets.
    """
    loss, hits = 0.0, 0.0
    for row in range(rows):
        scores, found = shifted(logits, row * units), shifted(outputs, row * units)
        wanted, slope = shifted(values, row * units), shifted(gradient, row * units)
        if kind == _CLASSES:
            label = labels[row]
            loss += _softmax(scores, units, found) - scores[label]
            hits += _highest(found, units) == label
            for unit in range(units):
                slope[unit] = found[unit] * factor
            slope[label] -= factor
            continue
        if kind == _DISTRIBUTIONS:
            base, mass = _softmax(scores, units, found), 0.0
            for unit in range(units):
                loss += wanted[unit] * (base - scores[unit])
                mass += wanted[unit]
            hits += _highest(found, units) == _highest(wanted, units)
            for unit in range(units):
                slope[unit] = type(factor)(mass) * found[unit] * factor - wanted[unit] * factor
            continue
        _finish(kind, scores, units, found)
        right = 0
        for unit in range(units):
            error = found[unit] - wanted[unit]
            if kind == _DECISIONS:
                score = scores[unit]
                loss += max(score, 0) - score * wanted[unit] + log1p(exp(-abs(score)))
                right += (found[unit] > threshold) == (wanted[unit] == 1)
            else:
                loss += error * error
            slope[unit] = error * factor
        hits += right / units
    return loss, hits


def step(dtype: str) -> Callable[..., None]:
    """The kernel; one thread carries it all."""
    real: Any = getattr(np, dtype)
    panel = VECTORS * lanes_of(dtype)

    def kernel(jobs: Any, thread: int, threads: int) -> None:
        job = carray(jobs, 1)[0]
        rows, last = job.rows, job.layers - 1
        job.is_done = 0
        scratch_a, scratch_b, scratch_c = at(dtype, job.scratch_a), at(dtype, job.scratch_b), at(dtype, job.scratch_c)
        units = job.units[last]
        labels, values = at("int64", job.targets), at(dtype, job.targets)
        if job.passes >= _EVALUATE and job.target == _CLASSES and not _are_classes(labels, rows, units):
            return

        x = at(dtype, job.inputs)
        for layer in range(job.layers):
            y, features = at(dtype, job.outputs_of[layer]), job.features[layer]
            _multiply(
                panel, x, features, 1, at(dtype, job.kernel[layer]), job.units[layer], y, rows, job.units[layer],
                features, scratch_a, scratch_b, scratch_c,
            )  # fmt: skip
            bias = at(dtype, job.bias[layer])
            slope, cap = real(job.slope[layer]), real(job.cap[layer])
            _rectify(y, bias, job.bias[layer] != 0, slope, cap, rows, job.units[layer])
            x = y
        outputs = at(dtype, job.outputs)
        if job.passes < _EVALUATE:
            for row in range(rows):
                _finish(job.target, shifted(x, row * units), units, shifted(outputs, row * units))
            job.is_done = _are_finite(outputs, rows * units)
            return

        samples = rows if job.target in (_CLASSES, _DISTRIBUTIONS) else rows * units
        factor = (1.0 if job.target <= _DECISIONS else 2.0) / samples
        gradient = at(dtype, job.gradient_of[last])
        loss, hits = _compare(
            job.target, x, outputs, labels, values, rows, units, real(job.threshold), gradient, real(factor)
        )
        if not isfinite(loss):
            return

        for back in range(job.layers if job.passes >= _DIFFERENTIATE else 0):
            layer = last - back
            features, units = job.features[layer], job.units[layer]
            y_gradient = at(dtype, job.gradient_of[layer])
            x = at(dtype, job.outputs_of[layer - 1] if layer else job.inputs)
            y, slope, cap = at(dtype, job.outputs_of[layer]), real(job.slope[layer]), real(job.cap[layer])
            _rectify_gradient(y_gradient, y, slope, cap, rows * units)
            if job.bias[layer]:
                _sum_rows(y_gradient, rows, units, at(dtype, job.bias_gradient[layer]))
            _multiply(
                panel, x, 1, features, y_gradient, units, at(dtype, job.kernel_gradient[layer]), features, units,
                rows, scratch_a, scratch_b, scratch_c,
            )  # fmt: skip
            if layer or job.inputs_gradient:
                transposed = at(dtype, job.transposed)
                x_gradient = at(dtype, job.gradient_of[layer - 1] if layer else job.inputs_gradient)
                _transpose(at(dtype, job.kernel[layer]), features, units, transposed)
                _multiply(
                    panel, y_gradient, units, 1, transposed, features, x_gradient, rows, features, units,
                    scratch_a, scratch_b, scratch_c,
                )  # fmt: skip

        for layer in range(job.layers if job.passes >= _LEARN else 0):
            for part in range(2):
                if part == 0:
                    address, count = job.kernel[layer], job.features[layer] * job.units[layer]
                    found, m, v = job.kernel_gradient[layer], job.kernel_momentum[layer], job.kernel_velocity[layer]
                else:
                    address, count = job.bias[layer], job.units[layer]
                    found, m, v = job.bias_gradient[layer], job.bias_momentum[layer], job.bias_velocity[layer]
                if address:
                    follow(dtype, real, job, address, found, m, v, count)

        job.is_done = 1
        if job.passes >= _LEARN:
            at("int32", job.updates)[0] += 1
        of_samples = loss / (samples / rows)
        if job.loss_total:
            at(dtype, job.loss_total)[0] += real(of_samples)
            at(dtype, job.loss_count)[0] += real(rows)
        if job.hits_total:
            at(dtype, job.hits_total)[0] += real(hits)
            at(dtype, job.hits_count)[0] += real(rows)

    return kernel
