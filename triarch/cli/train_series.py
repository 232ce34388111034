"""`triarch train` with a recurrent network."""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

from triarch import optimizers
from triarch.cli import pictures
from triarch.cli.interruption import Interrupted, Interruption
from triarch.cli.learning import Rows, learn
from triarch.cli.output import counted, duration, one_line, say, say_table, short_path
from triarch.cli.results import MODEL, claim_folder, new_run_folder, usable_device, write_history, write_report
from triarch.cli.task import Task
from triarch.random import set_random_seed

CURVES = "curves.png"


def train_series(
    task: Task,
    data: str,
    model: str,
    epochs: int | None,
    batch_size: int,
    lr: float,
    seed: int,
    threads: int | None,
    out: Path | None,
) -> None:
    """Train, test, and leave model, pictures and a report in the result folder."""
    usable_device()
    if threads:
        torch.set_num_threads(threads)
    started, now = time.perf_counter(), datetime.now().astimezone()
    epochs = epochs or task.epochs
    set_random_seed(seed)
    network = task.network(model)
    (x, y), validation = task.learning, task.validation
    steps = -(-len(x) // batch_size)
    rate = optimizers.schedules.CosineDecay(lr, epochs * steps)
    network.compile(optimizers.Adam(rate, clipnorm=1.0), task.loss, metrics=list(task.metrics))
    counts = {"training": len(x), "validation": len(validation[0]), "test": len(task.tests[0])}
    facts = {
        "started": now.isoformat(timespec="seconds"),
        "arguments": {
            "data": data, "model": model, "batch_size": batch_size, "lr": lr, "seed": seed, "epochs": epochs,
        },
        "data": {"name": task.name, "series": counts},
        "weights": network.count_params(),
    }  # fmt: skip
    say(f"{one_line(task.name)}: series: " + ", ".join(f"{count:,} {purpose}" for purpose, count in counts.items()))
    say(f"{model}: {network.count_params():,} weights; {counted(epochs, 'epoch')} of {counted(steps, 'step')}")
    with Interruption() as interruption:
        interruption.wait()
        folder = claim_folder(out) if out else new_run_folder(f"{task.name}-{model}", now)

        def save(rows: Rows, **more: Any) -> None:
            network.save(folder / MODEL)
            write_history(folder, rows)
            write_report(folder, task.facts(), {**facts, "epochs_finished": len(rows), **more})

        learning_started = time.perf_counter()
        rows = learn(
            network, epochs, steps, folder, lambda rows: save(rows, interrupted=True), interruption,
            x=x, y=y, batch_size=batch_size, validation_data=validation, validation_batch_size=256,
        )  # fmt: skip
        seconds = time.perf_counter() - learning_started
        save(rows, interrupted=False)
        interruption.resume()
        try:
            headline, lines, scores = task.test(network, folder)
            pictures.draw_curves(folder / CURVES, rows, f"{model} on {task.name}")
        except Interrupted:
            say(f"Interrupted after the last epoch. The model: {short_path(folder / MODEL)}")
            raise
        save(rows, interrupted=False, test=dict(scores), seconds={"training": seconds})
    say()
    say_table(
        headline,
        [
            *lines,
            ("time", f"{duration(seconds)} training, {duration(time.perf_counter() - started)} in all"),
            ("results", short_path(folder)),
            *((path.stem, short_path(path)) for path in (folder / MODEL, *sorted(folder.glob("*.png")))),
        ],
    )
