"""The cut of the project, read from its files: who imports whom, sizes, what loads torch, and the key reference."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from allowed_imports import FOR_BASELINES, LIGHT, MAY_IMPORT, NO_TORCH

from armed import config as configuration
from armed import config_checks

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("armed", "baselines", "benchmarks")
HEAVY = {"torch", "pandas", "sklearn", "statsmodels", "matplotlib", "scipy"}


@cache
def modules() -> dict[str, Path]:
    """Dotted names of all modules of the packages."""
    found = {}
    for path in sorted(p for package in PACKAGES for p in (ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def statements(node: ast.AST, inside_functions: bool) -> Iterator[ast.AST]:
    """All nodes that run; those in functions only if asked, those under ``if TYPE_CHECKING`` never."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            continue
        yield child
        if inside_functions or not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from statements(child, inside_functions)


def imports(path: Path, module: str = "", *, inside_functions: bool = True) -> set[str]:
    """Dotted names that a file imports; ``from armed import registry`` is ``armed.registry``."""
    found = set()
    for node in statements(tree(path), inside_functions):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                is_package = path.name == "__init__.py"
                parent = module.split(".")[: len(module.split(".")) - node.level + is_package]
                base = ".".join([*parent, *([base] if base else [])])
            names = {f"{base}.{alias.name}" for alias in node.names}
            found |= {name if name in modules() else base for name in names}
    return found


def ours(names: set[str]) -> set[str]:
    return {name for name in names if name.split(".")[0] in PACKAGES}


def part(module: str) -> str:
    """Name in MAY_IMPORT: ``armed.layers.adversary`` is part of ``layers``."""
    return module.removeprefix("armed").removeprefix(".").split(".")[0]


def loads(module: str) -> set[str]:
    """Everything that importing a module imports, transitively, by reading the files."""
    seen, waiting = set(), [module]
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        if name in modules():
            packages = [name.rsplit(".", i)[0] for i in range(1, name.count(".") + 1)]
            waiting += [*imports(modules()[name], name, inside_functions=False), *packages]
    return seen


def python_files() -> list[Path]:
    folders = (*PACKAGES, "workflow", "tests")
    return sorted(p for folder in folders for p in (ROOT / folder).rglob("*.py") if ".snakemake" not in p.parts)


def rule_files() -> list[Path]:
    return [*sorted((ROOT / "workflow").glob("Snakefile")), *sorted((ROOT / "workflow" / "rules").glob("*.smk"))]


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


class TestImports:
    def test_reading_imports(self, tmp_path):
        """What the tests below rely on."""
        file = tmp_path / "stack.py"
        file.write_text(
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import pandas\nfrom armed import registry as r, load\n"
            "from .layers import dense\nfrom . import losses\ntry:\n    import numpy\nfinally:\n    pass\n"
            "def f():\n    import torch.nn\n"
        )
        top = {"typing", "armed.registry", "armed", "armed.layers.dense", "armed.losses", "numpy"}
        assert imports(file, "armed.stack", inside_functions=False) == top
        assert imports(file, "armed.stack") == top | {"torch.nn"}

    @pytest.mark.parametrize("module", [m for m in modules() if m.split(".")[0] == "armed"])
    def test_armed_imports_only_what_is_below(self, module):
        name = part(module)
        assert name in MAY_IMPORT, f"armed.{name} is new: say in MAY_IMPORT of this test what it may import"
        found = ours(imports(modules()[module], module))
        wrong = sorted(m for m in found if m.split(".")[0] != "armed" or part(m) not in MAY_IMPORT[name])
        assert not wrong, (
            f"{module} imports {', '.join(wrong)}; allowed: {', '.join(sorted(MAY_IMPORT[name])) or 'nothing'}"
        )

    @pytest.mark.parametrize("module", [m for m in modules() if m.split(".")[0] == "baselines"])
    def test_baselines_import_what_is_below(self, module):
        found = ours(imports(modules()[module], module))
        wrong = sorted(m for m in found if m.split(".")[0] != "baselines" and part(m) not in FOR_BASELINES)
        assert not wrong, f"{module} imports {', '.join(wrong)}; allowed of armed: {', '.join(sorted(FOR_BASELINES))}"

    @pytest.mark.parametrize("file", [p for p in python_files() if p.parts[len(ROOT.parts)] in ("workflow", "tests")])
    def test_only_its_own_tests_import_the_benchmark(self, file):
        """Nor do armed and baselines, by the two tests above."""
        if file.is_relative_to(ROOT / "tests" / "benchmarks"):
            return
        assert not [m for m in imports(file) if m.split(".")[0] == "benchmarks"]

    def test_no_import_goes_in_a_circle(self):
        below = {m: ours(imports(path, m)) & set(modules()) - {m} for m, path in modules().items()}
        while free := {m for m, needs in below.items() if not needs}:
            below = {m: needs - free for m, needs in below.items() if m not in free}
        assert not below, f"these import one another: {', '.join(below)}"

    @pytest.mark.parametrize("module", LIGHT)
    def test_light_modules_load_nothing_heavy(self, module):
        code = f"import sys, {module}; print(*sys.modules)"
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
        assert run.returncode == 0, run.stderr
        assert HEAVY & set(run.stdout.split()) == set()

    @pytest.mark.parametrize("module", [m for m in modules() if part(m) in NO_TORCH and m.startswith("armed.")])
    def test_results_data_and_figures_load_no_torch(self, module):
        assert not [name for name in loads(module) if name.split(".")[0] == "torch"]

    @pytest.mark.parametrize("file", rule_files(), ids=relative)
    def test_rules_load_nothing_heavy(self, file):
        names = set()
        for line in file.read_text(encoding="utf-8").splitlines():
            if found := re.match(r"\s*(?:from\s+([\w.]+)\s+import\s+(.+)|import\s+([\w.]+))", line):
                base, members, plain = found.groups()
                members = [m.split(" as ")[0].strip(" ()") for m in (members or "").split(",")]
                names |= {plain} if plain else {base, *(n for m in members if (n := f"{base}.{m}") in modules())}
        heavy = {n.split(".")[0] for name in names for n in loads(name)} & HEAVY
        assert not heavy, f"{relative(file)} loads {', '.join(sorted(heavy))} at each parse"


class TestSizes:
    @pytest.mark.parametrize("file", python_files(), ids=relative)
    def test_modules_and_functions(self, file):
        limit = 40 if file.is_relative_to(ROOT / "workflow" / "scripts") else 400
        lines = len(file.read_text(encoding="utf-8").splitlines())
        assert lines < limit, f"{relative(file)} has {lines} lines, less than {limit} were expected"
        functions = [n for n in ast.walk(tree(file)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
        long = {f.name: n for f in functions if (n := self.length(f)) >= 50}
        assert not long, (
            f"{relative(file)}: less than 50 lines, docstring aside, were expected of each function: {long}"
        )

    def test_length_leaves_the_docstring_out(self):
        code = 'def f(x):\n    """One.\n\n    Two.\n    """\n    y = x\n    return y\n'
        assert self.length(ast.parse(code).body[0]) == 3

    @staticmethod
    def length(function: ast.FunctionDef) -> int:
        lines = function.end_lineno - function.lineno + 1
        if ast.get_docstring(function, clean=False) is not None:
            lines -= function.body[0].end_lineno - function.body[0].lineno + 1
        return lines

    @pytest.mark.parametrize("file", rule_files(), ids=relative)
    def test_rule_files(self, file):
        limit = 60 if file.name == "Snakefile" else 200
        assert len(file.read_text(encoding="utf-8").splitlines()) < limit

    def test_no_module_for_everything(self):
        assert not [m for m in modules() if re.search(r"util|misc|helper|common", m)]


def test_no_machine_paths():
    """No path of one machine in what is shipped."""
    tops = ("home", "Users", "root", "work", "tmp", "mnt", "scratch", "opt")
    pattern = re.compile(r"(?<![\w.:/~}>*-])/(?:" + "|".join(tops) + r")/\w|\b[A-Z]:\\\w")
    kinds = (".py", ".smk", ".yaml", ".yml", ".toml", ".md", ".csv", ".txt", ".rst", ".html", ".sh", ".cff", "")
    folders = (*PACKAGES, "workflow", "config", "docs", "tests", ".ci")
    files = [p for folder in folders for p in (ROOT / folder).rglob("*") if p.suffix in kinds]
    files += [
        p for p in ROOT.glob("*") if p.name not in (".git", "Dockerfile")
    ]  # a file where it is a worktree; paths in an image
    files = [p for p in files if p.is_file() and p.suffix in kinds and "__pycache__" not in p.parts]
    assert len(files) > 20
    found = [
        f"{relative(p)}:{i}: {line.strip()}"
        for p in files
        for i, line in enumerate(p.read_text(encoding="utf-8").splitlines(), 1)
        if pattern.search(line)
    ]
    assert not found, "\n".join(found)
    assert pattern.search("open('/" + "home/me/data')") and not pattern.search("results/work/x, https://a.b/home/c")


class TestKeyReference:
    """config.yaml, the schema and config/README.md tell of the same keys."""

    @staticmethod
    def keys() -> set[str]:
        """Dotted keys of config.yaml that hold values, ``*`` for the study; a variant, or a range to search, is one key."""

        def walk(value, path):
            is_whole = (len(path) == 5 and path[2] == "variants") or (
                len(path) == 6 and path[2:4] == ["tuning", "space"]
            )
            if isinstance(value, dict) and value and not is_whole:
                for key, sub in value.items():
                    yield from walk(sub, [*path, "*" if path == ["studies"] else key])
            else:
                yield ".".join(path)

        config = configuration.load(ROOT / "config" / "config.yaml")
        for kind in ("own_study", "own_images"):  # defaults of studies
            config["studies"][kind] = config.pop(kind)
        return set(walk(config, []))

    @staticmethod
    def rows() -> list[str]:
        """Keys that the tables of config/README.md explain, braces expanded."""
        text = (ROOT / "config" / "README.md").read_text(encoding="utf-8")
        found = []
        for line in text.splitlines():
            if not (row := re.match(r"\| `([\w.*{},]+)` \|(.+)\|$", line)):
                continue
            assert all(cell.strip() for cell in row[2].split(" | ")), f"an empty cell: {line}"
            braces = re.search(r"\{(.+)\}", row[1])
            names = braces[1].split(",") if braces else [""]
            found += [row[1].replace(braces[0], name) if braces else row[1] for name in names]
        return found

    def test_every_key_has_a_row_and_every_row_a_key(self):
        rows = self.rows()
        assert sorted(self.keys() - set(rows)) == [], "keys without a row in config/README.md"
        assert sorted(set(rows) - self.keys()) == [], "rows of config/README.md without a key in config.yaml"
        assert len(rows) == len(set(rows)), "a key with two rows"

    def test_every_key_has_a_description(self):
        for key in sorted(self.keys()):
            rules = [config_checks.schema(("own_study",), ("own_images",))]
            for name in key.split("."):
                blocks = [
                    dict.fromkeys([name], *r["patternProperties"].values())
                    if "patternProperties" in r
                    else r.get("properties", {})
                    for r in rules
                ]
                rules = [sub for block in blocks for k, sub in block.items() if name in (k, "*")]
            assert rules and all(len(rule["description"]) > 10 for rule in rules), key

    def test_blocks_of_the_config_are_all_in_the_schema(self):
        """The other way round: no key of the schema without a default."""
        studies = config_checks.schema(("own_study",), ("own_images",))["properties"]["studies"]["properties"].values()

        def walk(rule, path):
            if rule.get("properties") and not (len(path) == 4 and path[:2] == ["tuning", "space"]):
                for key, sub in rule["properties"].items():
                    yield from walk(sub, [*path, key])
            elif path[0] != "variants":
                yield ".".join(["studies", "*", *path])

        missing = {key for study in studies for key in walk(study, [])} - self.keys()
        assert not missing, f"no default in config.yaml for {', '.join(sorted(missing))}"
