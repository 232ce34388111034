"""Batch normalisation over the batches of several processes."""

from __future__ import annotations

import multiprocessing

import numpy as np
import pytest
import torch
import torch.distributed

from triarch import layers


def _half(rank: int, path: str, batch: np.ndarray, queue) -> None:
    """What one of two processes gets for its half of a batch: outputs, gradients, moving averages."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{path}", rank=rank, world_size=2)
    layer = layers.BatchNormalization(synchronized=True)
    own = torch.from_numpy(batch[rank * 3 : rank * 3 + 3]).requires_grad_()
    outputs = layer(own, training=True)
    (gradient,) = torch.autograd.grad(outputs.pow(3).sum(), own)
    averages = [weight.numpy() for weight in layer.non_trainable_weights]
    queue.put((rank, outputs.detach().numpy(), gradient.numpy(), averages))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no torch.distributed")
def test_two_processes_normalise_as_one(tmp_path, rng):
    batch = rng.normal(2.0, 3.0, size=(6, 4, 5)).astype(np.float32)
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    arguments = [(rank, str(tmp_path / "meeting"), batch, queue) for rank in range(2)]
    processes = [context.Process(target=_half, args=each) for each in arguments]
    for process in processes:
        process.start()
    try:
        found = sorted((queue.get(timeout=120) for _ in processes), key=lambda part: part[0])
    finally:
        for process in processes:
            process.join(timeout=30)
    layer = layers.BatchNormalization()
    whole = torch.from_numpy(batch).requires_grad_()
    outputs = layer(whole, training=True)
    (gradient,) = torch.autograd.grad(outputs.pow(3).sum(), whole)
    np.testing.assert_allclose(np.concatenate([part[1] for part in found]), outputs.detach(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(np.concatenate([part[2] for part in found]), gradient, rtol=1e-3, atol=1e-4)
    for part in found:
        for one, other in zip(part[3], layer.non_trainable_weights, strict=True):
            np.testing.assert_allclose(one, other.detach(), rtol=1e-5, atol=1e-6)
