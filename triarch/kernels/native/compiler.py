"""From Numba functions to machine code that is compiled once on a machine and kept on disk.

A kernel is a function of a job (a record of addresses and sizes), the number of a thread and the number of threads; it
raises nothing and allocates nothing. What is kept is the object code, which LLVM alone loads in milliseconds: Numba,
whose import and start take about a second, is needed only where code is missing. A file's name says what it was made
from: the source, the compiler, the processor and the kernel's constants.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib
import importlib.metadata
import threading
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import llvmlite.binding as llvm
import numpy as np

from triarch import config
from triarch.files import atomic_write
from triarch.kernels.native.allocator import keep_memory
from triarch.kernels.native.messages import announce

_DIGEST_BYTES = 32
# Functions of Numba's that its code names and kernels never reach: they raise nothing and own no memory.
_UNREACHED = (
    *("NRT_Free", "NRT_MemInfo_call_dtor", "numba_do_raise", "numba_gil_ensure", "numba_gil_release"),
    *("numba_runtime_build_excinfo_struct", "numba_unpickle"),
)
_lock = threading.RLock()
_engines: list[Any] = []  # that own the code which runs


class Source(NamedTuple):
    """A kernel that may be compiled: `module.function(*constants)` gives its Python function."""

    module: str
    function: str
    constants: tuple[Any, ...]
    job: np.dtype[Any]

    def __str__(self) -> str:
        return f"{self.function}({', '.join(map(str, self.constants))})"


@cache
def compiled(source: Source) -> int:
    """The address of the machine code of a kernel: `void (job *, int64 thread, int64 threads)`."""
    keep_memory()
    with _lock:
        path = folder() / f"{_key(source)}.o"
        code = _read(path)
        if code is None:
            code = _compile(source)
            _keep(path, code)
        return _load(code)


def is_kept(source: Source) -> bool:
    """Whether the code of a kernel lies on disk."""
    return _read(folder() / f"{_key(source)}.o") is not None


def folder() -> Path:
    """Where the code is kept."""
    return config.home() / "kernels"


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


@cache
def _announce_start() -> None:
    announce(f"compiling kernels for this machine, once (a few seconds; they are kept in {folder()})")


def _compile(source: Source) -> bytes:
    from numba import from_dtype, types
    from numba.core.ccallback import CFunc
    from numba.core.compiler_lock import global_compiler_lock

    _announce_start()
    function = getattr(importlib.import_module(source.module), source.function)(*source.constants)
    arguments = (types.CPointer(from_dtype(source.job)), types.int64, types.int64)
    options = {"error_model": "numpy", "no_cpython_wrapper": True}
    with global_compiler_lock:
        # What `numba.cfunc` does, but for loading the code into this process.
        callback: Any = CFunc(function, (arguments, types.void), {}, options)
        result = callback._compile_uncached()
        result.library._ensure_finalized()
    module = result.library._final_module.clone()
    module.get_function(result.fndesc.llvm_cfunc_wrapper_name).name = "kernel"
    return result.library._codegen._tm.emit_object(module)


def _read(path: Path) -> bytes | None:
    """What was kept; None where nothing was, or where it is not whole."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    digest, code = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    return code if hashlib.sha256(code).digest() == digest else None


def _keep(path: Path, code: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as temporary:
            temporary.write_bytes(hashlib.sha256(code).digest() + code)
    except OSError as error:
        announce(
            f"compiled kernels cannot be kept in {path.parent} ({error.strerror}), so every process compiles them anew"
        )


def _load(code: bytes) -> int:
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _target_machine())
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    _engines.append(engine)
    return engine.get_function_address("kernel")


@cache
def _target_machine() -> Any:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    abort = ctypes.cast(ctypes.CDLL(None).abort, ctypes.c_void_p).value
    for name in _UNREACHED:
        llvm.add_symbol(name, abort)
    return llvm.Target.from_default_triple().create_target_machine()
