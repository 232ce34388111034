"""Models and weights to and from what is open or names a file; and files that cannot be finished."""

from __future__ import annotations

import bz2
import gzip
import io
import os
import resource
import signal
import subprocess
import sys
import tempfile
import textwrap
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import triarch
from triarch import layers, saving
from triarch.files import atomic_folder, atomic_write


def network(units: int = 3) -> triarch.Sequential:
    model = triarch.Sequential([triarch.Input((4,)), layers.Dense(units), layers.BatchNormalization(), layers.Dense(2)])
    model.compile("adam", "mse")
    model.train_on_batch(np.ones((2, 4)), np.ones((2, 2)))
    return model


def assert_same(first: Any, second: Any) -> None:
    pairs = [*zip(first.weights, second.weights, strict=True)]
    pairs += zip(first.optimizer.variables, second.optimizer.variables, strict=True)
    for one, other in pairs:
        np.testing.assert_array_equal(one.detach().numpy(), other.detach().numpy())


class Trickle(io.RawIOBase):
    """A raw stream that cannot seek, and takes or gives little at a time."""

    def __init__(self, content: bytes = b"") -> None:
        self.content = bytearray(content)
        self.place = 0

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        taken = bytes(data[:1000])
        self.content += taken
        return len(taken)

    def readinto(self, buffer: Any) -> int:
        given = self.content[self.place : self.place + min(len(buffer), 1000)]
        buffer[: len(given)] = given
        self.place += len(given)
        return len(given)


class Minimal:
    """What has no more than it needs."""

    def __init__(self, content: bytes = b"") -> None:
        self.parts: list[bytes] = []
        self.stream = io.BytesIO(content)

    def write(self, data: bytes) -> None:
        assert isinstance(data, bytes)
        self.parts.append(data)

    def read(self, size: int = -1) -> bytes:
        return self.stream.read(size)


@contextmanager
def member(folder: Path, mode: str) -> Iterator[Any]:
    archive = zipfile.ZipFile(folder / "outer.zip", mode)  # type: ignore[call-overload]
    with archive, archive.open("inner", mode) as opened:
        yield opened


@contextmanager
def unseekable(folder: Path, mode: str) -> Iterator[Any]:
    path = folder / "trickle"
    stream = Trickle(path.read_bytes() if mode == "r" else b"")
    yield stream
    if mode == "w":
        path.write_bytes(stream.content)


@contextmanager
def minimal(folder: Path, mode: str) -> Iterator[Any]:
    path = folder / "minimal"
    stream = Minimal(path.read_bytes() if mode == "r" else b"")
    yield stream
    if mode == "w":
        path.write_bytes(b"".join(stream.parts))


@contextmanager
def pipe(folder: Path, mode: str) -> Iterator[Any]:
    """A pipe to and from the program `cat`."""
    with open(folder / "piped", f"{mode}b") as file:
        if mode == "r":
            with subprocess.Popen(["cat"], stdin=file, stdout=subprocess.PIPE) as process:
                yield process.stdout
        else:
            with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=file) as process:
                yield process.stdin
                process.stdin.close()  # type: ignore[union-attr]


def opening(name: str, opener: Callable[..., Any] = open, **arguments: Any) -> Callable[[Path, str], Any]:
    return lambda folder, mode: opener(folder / name, f"{mode}b", **arguments)


STREAMS: dict[str, Callable[[Path, str], Any]] = {
    "file": opening("file"),
    "unbuffered": opening("raw", buffering=0),
    "updating": lambda folder, mode: opening("both")(folder, f"{mode}+"),
    "gzip": opening("z.gz", gzip.open),
    "bzip2": opening("z.bz2", bz2.open),
    "member of a zip file": member,
    "without seeking": unseekable,
    "read and write alone": minimal,
    "pipe": pipe,
}
WAYS = {
    "model": (lambda model, place: model.save(place), lambda place: saving.load_model(place)),
    "weights": (lambda model, place: model.save_weights(place), lambda place: loaded_weights(place)),
}


def loaded_weights(place: Any) -> triarch.Sequential:
    model = network()
    model.load_weights(place)
    return model


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", STREAMS)
def test_every_kind_of_stream(kind: str, way: str, tmp_path: Path) -> None:
    model, (save, load) = network(), WAYS[way]
    with STREAMS[kind](tmp_path, "w") as stream:
        save(model, stream)
    with STREAMS[kind](tmp_path, "r") as stream:
        assert_same(load(stream), model)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "make", [io.BytesIO, tempfile.TemporaryFile, tempfile.SpooledTemporaryFile, tempfile.NamedTemporaryFile]
)
def test_a_stream_is_written_and_read_where_it_stands(make: Callable[[], Any], way: str) -> None:
    model, (save, load) = network(), WAYS[way]
    with make() as stream:
        stream.write(b"before")
        save(model, stream)
        end = stream.tell()
        assert stream.seek(0, io.SEEK_END) == end
        stream.seek(6)
        assert_same(load(stream), model)
        assert stream.tell() == end
        stream.seek(0)
        assert stream.read(6) == b"before"


@pytest.mark.parametrize("way", WAYS)
def test_a_stream_as_it_was_left(way: str) -> None:
    model, (save, load) = network(), WAYS[way]
    stream = io.BytesIO()
    save(model, stream)
    assert_same(load(stream), model)  # without `seek(0)`


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", ["str", "Path", "bytes", "PathLike", "PathLike of bytes"])
def test_every_kind_of_path(kind: str, way: str, tmp_path: Path) -> None:
    class Named:
        def __fspath__(self) -> Any:
            return os.fsencode(path) if "bytes" in kind else str(path)

    model, (save, load) = network(), WAYS[way]
    path = tmp_path / ("ä ö.keras" if way == "model" else "ä ö.weights.h5")
    place = {"str": str(path), "Path": path, "bytes": os.fsencode(path)}.get(kind, Named())
    save(model, place)
    assert path.is_file()
    assert_same(load(place), model)


@pytest.mark.parametrize("way", WAYS)
def test_a_path_in_a_zip_file(way: str, tmp_path: Path) -> None:
    model, (save, load) = network(), WAYS[way]
    with member(tmp_path, "w") as stream:
        save(model, stream)
    assert_same(load(zipfile.Path(tmp_path / "outer.zip", "inner")), model)


def test_whole_models_in_hdf5(tmp_path: Path) -> None:
    model = network()
    model.save(tmp_path / "m.h5")
    loaded = saving.load_model(io.BytesIO((tmp_path / "m.h5").read_bytes()))
    for one, other in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("place", "message"),
    [
        (lambda folder: io.TextIOWrapper(io.BytesIO()), "open for text"),
        (lambda folder: io.StringIO(), "open for text"),
        (lambda folder: 7, "path of a file, or a stream"),
        (lambda folder: None, "path of a file, or a stream"),
    ],
)
def test_what_is_no_place(place: Callable[[Path], Any], message: str, way: str, tmp_path: Path) -> None:
    model, (save, load) = network(), WAYS[way]
    for use in (lambda: save(model, place(tmp_path)), lambda: load(place(tmp_path))):
        with pytest.raises(ValueError, match=message):
            use()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", b"no model at all", b"\x89HDF\r\n\x1a\n"])
def test_damaged_streams_change_nothing(content: bytes) -> None:
    model = network()
    before = [value.copy() for value in model.get_weights()]
    for load in (saving.load_model, model.load_weights):
        with pytest.raises(ValueError, match=r"Received|not loaded|damaged"):
            load(io.BytesIO(content))
    for one, other in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)


class Full(io.RawIOBase):
    """A stream with an end."""

    name = "full.keras"

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize("way", WAYS)
def test_a_stream_that_is_full(way: str) -> None:
    with pytest.raises(OSError, match="No space left on device: there is no room") as caught:
        WAYS[way][0](network(), Full())
    assert caught.value.errno == 28
    assert caught.value.filename == "full.keras"


# A full disk. Its stand-in is a limit on the size of files.


@pytest.fixture
def full_disk() -> Iterator[Callable[[Callable[[], Any]], OSError]]:
    """A function that calls another one with hardly any room for files, and gives its error."""
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    def attempt(write: Callable[[], Any]) -> OSError:
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, before[1]))
        try:
            with pytest.raises(OSError, match="there is no room to write it") as caught:
                write()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        return caught.value

    yield attempt
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def drawn(path: Path) -> None:
    triarch.utils.plot_model(triarch.Sequential([triarch.Input((2,)), *(layers.Dense(2) for _ in range(60))]), path)


PICTURE = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype("uint8")
WRITERS: dict[str, Callable[[Path], Any]] = {
    "m.keras": lambda path: network(300).save(path),
    "m.h5": lambda path: network(300).save(path),
    "folder": lambda path: network(300).save(path, zipped=False),
    "w.weights.h5": lambda path: network(300).save_weights(path),
    "w.weights.json": lambda path: network(300).save_weights(path, max_shard_size=1e-5),
    "i.png": lambda path: triarch.utils.save_img(path, PICTURE),
    "i.jpg": lambda path: triarch.utils.save_img(path, PICTURE, quality=100),
    "i.bmp": lambda path: triarch.utils.save_img(path, PICTURE),
    "g.dot": drawn,
}


def content_of(path: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in sorted(path.parent.rglob("*")) if each.is_file()}


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk(name: str, tmp_path: Path, full_disk: Callable[[Callable[[], Any]], OSError]) -> None:
    path, write = tmp_path / name, WRITERS[name]
    write(path)
    before = content_of(path)
    error = full_disk(lambda: write(path))
    assert error.errno == 27
    assert str(tmp_path / name.split(".")[0]) in str(error)
    assert content_of(path) == before
    write(path)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # of TensorBoard's own thread
@pytest.mark.parametrize("kind", ["csv", "tensorboard"])
def test_logs_on_a_full_disk(kind: str, tmp_path: Path, full_disk: Callable[[Callable[[], Any]], OSError]) -> None:
    if kind == "tensorboard":
        pytest.importorskip("tensorboard")
        callback: Any = triarch.callbacks.TensorBoard(tmp_path / "log", histogram_freq=1)
    else:
        callback = triarch.callbacks.CSVLogger(tmp_path / "log")
    model, x = network(), np.ones((2, 4), "float32")
    error = full_disk(lambda: model.fit(x, x[:, :2], epochs=200, verbose=0, callbacks=[callback]))
    assert error.errno == 27
    assert str(error.filename) == str(tmp_path / "log")


@pytest.mark.parametrize("suffix", [".npy", ".csv", ".png"])
def test_tables_on_a_full_disk(suffix: str, tmp_path: Path, full_disk: Callable[[Callable[[], Any]], OSError]) -> None:
    from triarch.cli.operands import write_result

    path = tmp_path / f"r{suffix}"
    write_result(path, PICTURE[..., 0])
    before = path.read_bytes()
    assert full_disk(lambda: write_result(path, PICTURE[..., 0] + np.uint8(1))).errno == 27
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


# What killed writers leave.

KILLED = """
    import os, signal, sys
    from triarch.files import atomic_folder, atomic_write
    with atomic_folder(sys.argv[1] + "-folder") as folder, atomic_write(sys.argv[1]) as file:
        (folder / "part").write_bytes(b"half")
        file.write_bytes(b"half")
        print(folder.name, file.name, flush=True)
        if sys.argv[2] == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        sys.stdin.readline()
"""


def writer(path: Path, end: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(KILLED), str(path), end]
    environment = {**os.environ, "PYTHONPATH": str(Path(triarch.__file__).parents[1])}
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)


def test_the_next_writer_clears_what_killed_ones_left(tmp_path: Path) -> None:
    with writer(tmp_path / "x.keras", "die") as killed, writer(tmp_path / "y.keras", "wait") as alive:
        left = set(killed.stdout.readline().split())  # type: ignore[union-attr]
        assert killed.wait() == -signal.SIGKILL
        kept = set(alive.stdout.readline().split())  # type: ignore[union-attr]
        assert len(left | kept) == 4
        with atomic_write(tmp_path / "z.txt") as temporary:
            temporary.write_text("z")
        assert {path.name for path in tmp_path.iterdir()} == kept | {"z.txt"}
        alive.communicate("go\n")
    assert {path.name for path in tmp_path.iterdir()} == {"y.keras", "y.keras-folder", "z.txt"}


def test_what_is_not_ours_is_not_cleared(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "x") as temporary:
        prefix, _, mark = temporary.name.partition("-")
    others = [".hidden", ".x", f"{prefix}-0000000f-{mark}", "triarch-note"]
    for name in others:
        (tmp_path / name).write_text("somebody's")
    (tmp_path / "target").write_text("somebody's")
    link = tmp_path / temporary.name
    link.symlink_to(tmp_path / "target")
    with atomic_write(tmp_path / "y"):
        pass
    assert all((tmp_path / name).read_text() == "somebody's" for name in [*others, "target"])


def test_folders_take_each_others_place(tmp_path: Path) -> None:
    for text in ("first", "second"):
        with atomic_folder(tmp_path / "f") as temporary:
            (temporary / "inner").mkdir()
            (temporary / "inner" / text).write_text(text)
    assert [path.name for path in (tmp_path / "f" / "inner").iterdir()] == ["second"]
    with pytest.raises(RuntimeError), atomic_folder(tmp_path / "f") as temporary:
        raise RuntimeError
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


def test_names_as_long_as_they_may_be(tmp_path: Path) -> None:
    name = "ü" * 120 + ".weights.h5"
    network().save_weights(tmp_path / name)
    with h5py.File(tmp_path / name) as file:
        assert "layers" in file
