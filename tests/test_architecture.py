"""The structure of the package, read from its source.

`python tests/test_architecture.py --write` writes the two generated pages anew: `docs/public-api.txt` and
`docs/environment.md`.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TypeVar

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "triarch"
PUBLIC_API = ROOT / "docs" / "public-api.txt"
ENVIRONMENT_PAGE = ROOT / "docs" / "environment.md"

TIERS = (
    ("_version", "config", "files", "registry"),
    ("backend", "exactness", "tensors", "watching"),
    ("convolution", "forms", "serialization", "variable"),
    ("graph", "mixed_precision", "random"),
    ("activations", "constraints", "initializers", "kernels", "losses", "regularizers"),
    ("callbacks", "layers", "metrics", "ops", "optimizers", "saving"),
    ("training",),
    ("models",),
    ("utils",),
    ("applications", "datasets"),
    ("cli",),
    ("__init__",),
)
TIER_OF = {unit: tier for tier, units in enumerate(TIERS) for unit in units}

# Imports inside functions: optional packages, and what is too slow to load for those who do not need it.
LAZY_IMPORTS = {
    ("triarch.callbacks.tensorboard", "torch.utils.tensorboard"),
    ("triarch.cli", "triarch.cli.app"),
    ("triarch.convolution.cells", "triarch.convolution.compiled_cells"),
    ("triarch.convolution.continuous", "scipy.integrate"),
    ("triarch.convolution.exact_limbs", "triarch.convolution.compiled"),
    ("triarch.convolution.mending", "triarch.convolution.compiled_cells"),
    ("triarch.convolution.methods.direct", "triarch.convolution"),
    ("triarch.convolution.operation", "triarch.convolution.compiled"),
    ("triarch.files.notes", "h5py"),
    ("triarch.initializers.constant", "scipy.signal"),
    ("triarch.kernels.native.loader", "triarch.kernels.native.compiler"),
    ("triarch.kernels.native.machine_code", "triarch.kernels.native"),
    ("triarch.kernels.sampling.cuda", "triarch.kernels.sampling.triton_kernels"),
    ("triarch.layers.batch_normalization", "torch.distributed.nn.functional"),
    ("triarch.models.drawing", "pydot"),
    ("triarch.models.model", "triarch.models.summary"),
    ("triarch.saving.hdf5", "h5py"),
    ("triarch.training.images.files", "PIL"),
    ("triarch.training.images.plain", "imagecodecs"),
}
HEAVY = {"numba", "llvmlite", "triton", "matplotlib", "h5py", "rich", "typer", "PIL", "tensorboard", "keras"}
ENVIRONMENT_READERS = {"os.environ.get", "os.environ.pop", "os.environ.setdefault", "os.getenv"}
CODE_RUNNERS = {"pickle", "marshal", "dill", "cloudpickle", "importlib", "eval", "exec", "compile", "__import__"}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text(), filename=str(path)) for name, path in MODULES.items()}


def unit_of(module: str) -> str:
    """`"triarch.layers.core"` -> `"layers"`."""
    return [*module.split("."), "__init__"][1]


def imported_names(node: ast.AST) -> list[str]:
    """Full names of the modules, or of the names in modules, that an import statement brings in."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, f"relative import in line {node.lineno}"
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return []


def internal_imports(module: str) -> Iterator[tuple[str, int]]:
    """The modules of the package that `module` imports, with line numbers."""
    for node in ast.walk(TREES[module]):
        for name in imported_names(node):
            if name.split(".")[0] == "triarch":
                yield name if name in MODULES else name.rpartition(".")[0], node.lineno


def test_every_module_has_a_tier() -> None:
    assert {unit_of(module) for module in MODULES} <= set(TIER_OF)


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_strictly_down(module: str) -> None:
    own = unit_of(module)
    wrong = [
        f"{MODULES[module]}:{line}: {module} imports {target}"
        for target, line in internal_imports(module)
        if unit_of(target) != own and TIER_OF[unit_of(target)] >= TIER_OF[own]
    ]
    assert not wrong, "\n".join(wrong)


def test_no_cycles() -> None:
    graph = {module: {target for target, _ in internal_imports(module)} - {module} for module in MODULES}
    while graph:
        leaves = {module for module, targets in graph.items() if not targets & graph.keys()}
        assert leaves, f"these modules import each other in a circle: {sorted(graph)}"
        graph = {module: targets for module, targets in graph.items() if module not in leaves}


def hidden_imports(module: str) -> set[tuple[str, str]]:
    """Modules that functions of `module` import."""
    functions = [node for node in ast.walk(TREES[module]) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    nodes = [node for function in functions for node in ast.walk(function)]
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return {(module, name) for name in plain | {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}}


def test_imports_stand_at_the_top() -> None:
    assert set().union(*map(hidden_imports, MODULES)) == LAZY_IMPORTS


def names_in(source: str) -> set[str]:
    """Every name, attribute and imported module that a module's code mentions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Name):
            names.add(node.id)
        names.update(name.split(".")[0] for name in imported_names(node))
    return names


@pytest.mark.parametrize(
    "module", [name for name in MODULES if unit_of(name) in ("saving", "serialization", "registry")]
)
def test_what_reads_model_files_cannot_run_code(module: str) -> None:
    arguments = {arg.arg for node in ast.walk(TREES[module]) if isinstance(node, ast.arguments) for arg in node.args}
    assert not names_in(MODULES[module].read_text()) & (CODE_RUNNERS - arguments)


def loaded_by(statement: str) -> set[str]:
    code = f"{statement}\nimport sys\nprint(*sys.modules)"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    return set(output.split())


def test_import_is_light() -> None:
    loaded = HEAVY & (loaded_by("import triarch") - loaded_by("import numpy, torch"))
    assert not loaded


def public_names(module: ModuleType) -> list[str]:
    """`__all__`, or the names that the module itself defines and does not hide."""
    if hasattr(module, "__all__"):
        return sorted(module.__all__)
    return sorted(
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and not isinstance(value, (ModuleType, TypeVar))
        and (inspect.ismethod(value) or getattr(value, "__module__", module.__name__) == module.__name__)
    )


def public_api() -> str:
    units = sorted({unit_of(module) for module in MODULES} - {"__init__", "_version", "cli"})
    modules = [importlib.import_module(name) for name in ("triarch", *(f"triarch.{unit}" for unit in units))]
    return "".join(f"{module.__name__}.{name}\n" for module in modules for name in public_names(module))


def test_public_names_are_the_documented_ones() -> None:
    documented, present = set(PUBLIC_API.read_text().split()), set(public_api().split())
    assert documented == present, (
        f"new: {sorted(present - documented)}, gone: {sorted(documented - present)}; where this is meant, run "
        "`python tests/test_architecture.py --write`"
    )


def environment_variables() -> set[str]:
    """Names of the environment variables that the source reads or speaks of."""
    found: set[str] = set()
    for module, tree in TREES.items():
        found.update(re.findall(r"\bTRIARCH_[A-Z_]+\b", MODULES[module].read_text()))
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ENVIRONMENT_READERS:
                found.update(arg.value for arg in node.args[:1] if isinstance(arg, ast.Constant))
            if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "os.environ":
                found.add(ast.literal_eval(node.slice))
    return found


def environment_page() -> str:
    from triarch.config import ENVIRONMENT

    rows = "".join(f"| `{name}` | {meaning} |\n" for name, meaning in sorted(ENVIRONMENT.items()))
    return (
        "# Environment variables\n\n"
        "triarch reads these at start. Functions of `triarch.config` change the same settings later.\n\n"
        f"| variable | meaning |\n|---|---|\n{rows}"
    )


def test_environment_variables_are_listed() -> None:
    from triarch.config import ENVIRONMENT

    assert environment_variables() == set(ENVIRONMENT)


def test_environment_variables_are_documented() -> None:
    assert ENVIRONMENT_PAGE.read_text() == environment_page()


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit("usage: python tests/test_architecture.py --write")
    sys.path.insert(0, str(ROOT))
    PUBLIC_API.write_text(public_api())
    ENVIRONMENT_PAGE.write_text(environment_page())
