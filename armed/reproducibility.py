"""What a run depends on: derived seeds, a digest of the source used, the environment, files written whole.

Standard library only: the workflow imports this while it is parsed.
"""

from __future__ import annotations

import ast
import hashlib
import json
import logging
import os
import platform
import subprocess
import sys
from collections.abc import Collection
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from types import ModuleType

from armed.errors import UnknownNameError, did_you_mean

logger = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parent.parent
PROJECT_PACKAGES = ("armed", "baselines")
REPORTED_PACKAGES = (
    "armed-bench",
    "torch",
    "numpy",
    "scipy",
    "pandas",
    "pyarrow",
    "scikit-learn",
    "statsmodels",
    "lightgbm",
    "gpboost",
    "matplotlib",
    "snakemake",
)
VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "MKL_CBWR",
    "ATEN_CPU_CAPABILITY",
    "ONEDNN_MAX_CPU_ISA",
    "DNNL_MAX_CPU_ISA",
    "OPENBLAS_CORETYPE",
    "NPY_DISABLE_CPU_FEATURES",
)
"""Of the environment, by which libraries choose threads and instructions, and so how they round."""


def derive_seed(purpose: str, study: str, seed: int, fold: int = 0) -> int:
    """Return the seed of one random stream.

    Streams of different purposes, studies, seeds or folds are unrelated, and adding one never shifts another.

    Parameters
    ----------
    purpose : str
        What is drawn, e.g. ``"data"``, ``"split"``, ``"init"``.
    study : str
        Id of the study.
    seed, fold : int
        Seed and fold of the run.

    Returns
    -------
    int
        Number in [0, 2**63): the first 63 bits of the SHA-256 of the four parts.
    """
    # JSON keeps ("a", "bc") and ("ab", "c") apart; int() lets NumPy integers in.
    parts = json.dumps([str(purpose), str(study), int(seed), int(fold)])
    return int.from_bytes(hashlib.sha256(parts.encode()).digest()[:8], "big") >> 1


def source_digest(target: str | ModuleType, *, apart: Collection[str] = (), root: Path = ROOT) -> str:
    """Hash the project code that a module uses, without importing it.

    The transitive closure of modules of the packages `armed` and `baselines` named in import statements
    (inside functions too) is hashed. Comments, formatting and docstrings do not count. A package's
    ``__init__`` counts only where a module takes a name from it, not where it is merely on the way to a
    submodule. A name taken from a top package itself (``import armed``, ``from armed import MixedEffects``)
    is resolved when the program runs, so there every module of that package counts: rather a needless rerun
    than a stale result.

    Parameters
    ----------
    target : str or module
        ``"module:name"``, ``"module"`` or a module object.
    apart : collection of str
        Modules that do not count, because what the target takes from them is told in another way.
    root : Path
        Folder that holds the packages.

    Returns
    -------
    str
        Hexadecimal SHA-256. Comparable within one Python minor version (it is taken of syntax trees).

    Raises
    ------
    UnknownNameError
        The target is not a module of the project's packages.
    """
    name = target.__name__ if isinstance(target, ModuleType) else str(target).partition(":")[0]
    digest = hashlib.sha256()
    for module in (m for m in modules_used(name, root=root) if m not in apart):
        content, _ = _parse(_file_of(module, root))
        digest.update(f"{module} {content}\n".encode())
    return digest.hexdigest()


def modules_used(module: str, *, root: Path = ROOT) -> list[str]:
    """Return the project modules that a module uses, itself included, sorted; see `source_digest`."""
    if module in PROJECT_PACKAGES or _file_of(module, root) is None:
        known = [m for package in PROJECT_PACKAGES for m in _modules_of(package, root)]
        raise UnknownNameError(
            f"'{module}' is not a module under {root}; expected one of the packages"
            f" {' or '.join(PROJECT_PACKAGES)}, such as 'armed.registry'.{did_you_mean(module, known)}"
        )
    found, waiting = set(), [module]
    while waiting:
        current = waiting.pop()
        if current in found:
            continue
        found.add(current)
        path = _file_of(current, root)
        for base, level, names in _parse(path)[1]:
            waiting.extend(_resolve(current, path, base, level, names, root))
    return sorted(found)


def source_digests(targets: Collection[str]) -> list[str]:
    """Digest of each of the sources that a job uses: Snakemake does not see edits in imported packages.

    Without the registry and its entries, so that a new one reruns nothing: a job has what it takes from it as parameters.
    """
    return [source_digest(target, apart=["armed.entries", "armed.registry"]) for target in targets]


def sources_of_fit(method: str, tuned: bool = False) -> list[str]:
    """Name what the fit of a method uses, which its record has digests of; `tuned` where hyperparameters are chosen."""
    return ["armed.jobs.fit", method, *["armed.tuning"] * tuned]


def environment() -> dict:
    """Return what a run ran on.

    Returns
    -------
    dict
        ``python``, ``platform``, ``processor``, ``instructions`` (digest of its instruction sets), ``cpu_count``, ``variables``
        (`VARIABLES` that are set), ``packages`` (name -> version; None where not installed), ``git_commit`` (None outside a git
        checkout) and ``changed_files`` (tracked files that differ from the commit).
    """
    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        **processor(),
        "cpu_count": os.cpu_count(),
        "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
        "packages": {name: _version(name) for name in REPORTED_PACKAGES},
        "git_commit": git_commit(),
        "changed_files": changed_files(),
    }


def processor(described: Path = Path("/proc/cpuinfo")) -> dict[str, str]:
    """Return the processor's name, and a digest of its instruction sets, by which libraries choose how they add up."""
    try:
        lines = [line.partition(":") for line in described.read_text(encoding="utf-8").splitlines()]
    except OSError:
        lines = []
    told = {name.strip(): value.strip() for name, _, value in reversed(lines)}
    flags = told.get("flags", told.get("Features", platform.machine()))
    return {
        "processor": told.get("model name") or platform.processor() or platform.machine(),
        "instructions": hashlib.sha256(flags.encode()).hexdigest()[:16],
    }


def git_commit(root: Path = ROOT) -> str | None:
    """Return the commit checked out in a folder, or None where there is none or no git."""
    return (_git(root, "rev-parse", "--verify", "--quiet", "HEAD") or "").strip() or None


def changed_files(root: Path = ROOT) -> list[str]:
    """Return the tracked files of a folder that differ from the commit checked out; none outside a git checkout."""
    told = _git(root, "status", "--porcelain", "--untracked-files=no") or ""
    return [line[3:] for line in told.splitlines()]


def _git(root: Path, *arguments: str) -> str | None:
    """What git says of a checkout; None where there is none, or no git."""
    if not (root / ".git").exists():  # else git would answer for a repository further up
        return None
    command = ["git", "--no-optional-locks", "-C", str(root), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        logger.debug("git does not tell: %s", error)
        return None


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _file_of(module: str, root: Path) -> Path | None:
    """Source file of a project module, or None. Not `find_spec`: that would import the parent packages."""
    parts = module.split(".")
    if parts[0] not in PROJECT_PACKAGES or not all(part.isidentifier() for part in parts):
        return None
    folder = root.joinpath(*parts)
    return next((f for f in (folder.with_suffix(".py"), folder / "__init__.py") if f.is_file()), None)


def _modules_of(package: str, root: Path) -> list[str]:
    """All modules of a top package, but not the package's own ``__init__``."""
    files = (root / package).rglob("*.py")
    names = {".".join(f.relative_to(root).with_suffix("").parts).removesuffix(".__init__") for f in files}
    return sorted(n for n in names - {package} if _file_of(n, root))


def _resolve(module: str, path: Path, base: str, level: int, names: tuple[str, ...], root: Path) -> list[str]:
    """Project modules that one import statement of a module names."""
    if level:
        parts = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
        base = ".".join([*parts[: len(parts) - level + 1], *([base] if base else [])])
    if base.split(".")[0] not in PROJECT_PACKAGES:
        return []
    submodules = [f"{base}.{name}" for name in names if _file_of(f"{base}.{name}", root)]
    if len(submodules) == len(names) > 0:
        return submodules
    if base in PROJECT_PACKAGES:
        # Dunders such as __version__ are the package's own, all else in it is loaded lazily.
        lazy = not names or any(not n.startswith("__") and f"{base}.{n}" not in submodules for n in names)
        return _modules_of(base, root) if lazy else submodules
    return [*submodules, *([base] if _file_of(base, root) else [])]


def _parse(path: Path) -> tuple[str, tuple[tuple[str, int, tuple[str, ...]], ...]]:
    stat = path.stat()
    return _parse_version(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=1024)
def _parse_version(path: Path, mtime_ns: int, size: int):
    """Digest of a file's code, and its imports as (module, level, names); cached per version of the file."""
    tree = ast.parse(path.read_bytes(), filename=str(path))
    imports = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imports += [(alias.name, 0, ()) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            imports.append((node.module or "", node.level, tuple(alias.name for alias in node.names)))
        elif isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            _drop_docstring(node)
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest(), tuple(imports)


def _drop_docstring(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> None:
    if ast.get_docstring(node, clean=False) is not None:
        del node.body[0]
