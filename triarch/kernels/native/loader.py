"""Machine code that is compiled once on a machine, kept on disk, and loaded in milliseconds by LLVM alone.

Numba, whose import and start take about a second, is needed only where code is missing. A file's name says what it was
made from: the source, the compiler, the processor and the kernel's constants.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib.metadata
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm

from triarch import config
from triarch.files import atomic_write
from triarch.kernels.native.messages import announce
from triarch.kernels.native.source import Source

_DIGEST_BYTES = 32
# Functions of Numba's that its code names and kernels never reach: they raise nothing and own no memory.
_UNREACHED = (
    *("NRT_Free", "NRT_MemInfo_call_dtor", "numba_do_raise", "numba_gil_ensure", "numba_gil_release"),
    *("numba_runtime_build_excinfo_struct", "numba_unpickle"),
)
_engines: list[Any] = []  # that own the code which runs


def load(content: bytes) -> int:
    """The address of a kernel in this process.

    Args:
        content: The name of its entry, and its object file.
    """
    entry, _, code = content.partition(b"\0")
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _target_machine())
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    _engines.append(engine)
    return engine.get_function_address(entry.decode())


def code(source: Source) -> bytes:
    """The name of a kernel's entry, and its object file: what is kept, or compiled now."""
    path = folder() / f"{_key(source)}.o"
    content = _read(path)
    if content is None:
        from triarch.kernels.native.compiler import object_code

        announce_start()
        content = b"\0".join(object_code(source))
        _keep(path, content)
    return content


def is_kept(source: Source) -> bool:
    """Whether the code of a kernel lies on disk."""
    return _read(folder() / f"{_key(source)}.o") is not None


def folder() -> Path:
    """Where the code is kept."""
    return config.home() / "kernels"


@cache
def announce_start() -> None:
    """Tell the user, once, what takes the time."""
    announce(f"compiling kernels for this machine, once (a few seconds; they are kept in {folder()})")


def _key(source: Source) -> str:
    parts = (_environment(), source.module, source.function, repr(source.constants))
    return f"{source.function}-{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:24]}"


@cache
def _environment() -> str:
    """All that the code of every kernel depends on."""
    versions = [importlib.metadata.version(package) for package in ("numba", "llvmlite", "numpy")]
    features = llvm.get_host_cpu_features().flatten()
    root = Path(__file__).parents[2]
    files = [*(root / "kernels").rglob("*.py"), root / "convolution" / "toom_cook.py"]
    sources = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(files))).hexdigest()
    return " ".join((*versions, llvm.get_host_cpu_name(), features, sources))


def _read(path: Path) -> bytes | None:
    """What was kept; None where nothing was, or where it is not whole."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    digest, rest = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    return rest if hashlib.sha256(rest).digest() == digest else None


def _keep(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as temporary:
            temporary.write_bytes(hashlib.sha256(content).digest() + content)
    except OSError as error:
        announce(
            f"compiled kernels cannot be kept in {path.parent} ({error.strerror}), so every process compiles them anew"
        )


@cache
def _target_machine() -> Any:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    abort = ctypes.cast(ctypes.CDLL(None).abort, ctypes.c_void_p).value
    for name in _UNREACHED:
        llvm.add_symbol(name, abort)
    return llvm.Target.from_default_triple().create_target_machine()
