"""The documents: their code runs, and what they name exists and is what they say."""

from __future__ import annotations

import doctest
import importlib
import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from armed import checksums, claims, registry, schemas
from armed import config as configuration

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted(
    p
    for folder in ("", "docs", "docs/studies", "baselines", "benchmarks", "config")
    for p in (ROOT / folder).glob("*.md")
)
LANGUAGES = {"", "bash", "diff", "python", "yaml"}  # nothing after `python`: no block is exempt from running
FOLDERS = ("armed", "baselines", "config", "workflow", "tests", "docs", "benchmarks", "results", ".ci")
SITE = "docs/_build"  # made by `make docs`
NEW_METHOD = "baselines/label_smoothing.py"  # written by a reader of docs/add_method.md
MODULES = sorted(p for folder in ("armed", "baselines") for p in (ROOT / folder).rglob("*.py"))
DEFAULT = ROOT / "config" / "config.yaml"


class Block(NamedTuple):
    """A fenced block: language, text, and the line of its first line."""

    language: str
    text: str
    line: int


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache
def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def blocks(path: Path, language: str | None = None) -> list[Block]:
    text = read(path)
    found = re.finditer(r"^```(.*)\n((?:.*\n)*?)```$", text, re.MULTILINE)
    all_blocks = [Block(m[1], m[2], text.count("\n", 0, m.start(2))) for m in found]
    return [b for b in all_blocks if language in (None, b.language)]


def prose(path: Path) -> str:
    return re.sub(r"^```(?:.*)\n(?:.*\n)*?```$", "", read(path), flags=re.MULTILINE)


def spans(path: Path) -> list[str]:
    """Text between backticks, outside fenced blocks."""
    return re.findall(r"`([^`\n]+)`", prose(path))


def code(path: Path) -> list[str]:
    """Text between backticks, and lines of fenced blocks."""
    return [*spans(path), *(line for block in blocks(path) for line in block.text.splitlines())]


def expanded(text: str) -> list[str]:
    """``a{b,c}`` as ``ab`` and ``ac``; braces without a comma stay."""
    found = re.search(r"\{([^{}]*,[^{}]*)\}", text)
    return [t for o in found[1].split(",") for t in expanded(text.replace(found[0], o, 1))] if found else [text]


def headings(path: Path) -> list[str]:
    titles = re.findall(r"^#+ (.+)$", prose(path), re.MULTILINE)
    return [re.sub(r"[^\w -]", "", t.lower()).replace(" ", "-") for t in titles]


def section(path: Path, title: str) -> str:
    found = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#|\Z)", prose(path), re.MULTILINE | re.DOTALL)
    assert found, f"{name(path)} has no section '{title}'"
    return found[1]


def rows(text: str) -> list[list[str]]:
    """Cells of the lines of a table whose first cell is code."""
    return [[c.strip() for c in line.strip("|").split(" | ")] for line in text.splitlines() if line.startswith("| `")]


@pytest.fixture
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class TestCodeRuns:
    @pytest.mark.parametrize("path", [p for p in DOCUMENTS if blocks(p, "python")], ids=name)
    def test_python_blocks(self, path, tmp_path, monkeypatch, one_thread):
        """All blocks of a document, one after another in one namespace, in an empty folder."""
        monkeypatch.chdir(tmp_path)
        namespace = {"__name__": "document"}
        for block in blocks(path, "python"):
            # Empty lines before it, so that a traceback shows the document's own line.
            exec(compile("\n" * block.line + block.text, str(path), "exec"), namespace)

    @pytest.mark.parametrize("path", DOCUMENTS, ids=name)
    def test_every_block_is_of_a_kind_that_is_checked(self, path):
        assert {b.language for b in blocks(path)} <= LANGUAGES

    def test_the_documents_that_should_have_code_have_it(self):
        assert {name(p) for p in DOCUMENTS if blocks(p, "python")} >= {
            *("README.md", "docs/ten_lines.md", "docs/networks.md", "docs/add_method.md"),
        }

    def test_no_document_is_overlooked(self):
        there = {p for p in (ROOT / "docs").rglob("*.md") if p.relative_to(ROOT).parts[1] not in ("_build", "api")}
        assert there <= set(DOCUMENTS)

    def test_ten_lines_are_ten_at_most(self):
        _, lines = blocks(ROOT / "docs" / "ten_lines.md", "python")
        assert len([line for line in lines.text.splitlines() if line.strip()]) <= 10

    @pytest.mark.parametrize("path", [p for p in MODULES if ">>>" in read(p)], ids=name)
    def test_docstrings(self, path, one_thread):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        result = doctest.testmod(importlib.import_module(module))
        assert result.attempted and not result.failed

    @pytest.mark.parametrize("path", [p for p in DOCUMENTS if blocks(p, "yaml")], ids=name)
    def test_settings_are_valid_overlays(self, path, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        for block in blocks(path, "yaml"):
            for table in re.findall(r"path: (\S+\.csv)", block.text):  # of the reader's own
                (tmp_path / table).parent.mkdir(exist_ok=True)
                (tmp_path / table).touch()
            overlay = tmp_path / "overlay.yaml"
            overlay.write_text(block.text, encoding="utf-8")
            configuration.check(configuration.load([DEFAULT, overlay]))


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
class TestNames:
    def test_links(self, path):
        wrong = []
        for target in re.findall(r"\]\(([^)\s]+)\)", prose(path)):
            if re.match(r"https?://", target):
                continue
            file, _, anchor = target.partition("#")
            linked = (path.parent / file).resolve() if file else path
            if not linked.exists() or (anchor and anchor not in headings(linked)):
                wrong.append(target)
        assert not wrong

    def test_paths(self, path):
        tops = "|".join(re.escape(folder) for folder in FOLDERS)
        pattern = re.compile(rf"(?<![\w./:{{}}<>-])((?:{tops})/[\w./{{}}*<>,-]*)")
        named = [p.rstrip(".,") for text in code(path) for found in pattern.findall(text) for p in expanded(found)]
        assert not [p for p in named if not self.exists(p)]

    def test_files_of_the_root(self, path):
        named = [s for s in spans(path) if re.fullmatch(r"[A-Za-z][\w.-]*\.(md|toml|txt|yml|cff)|Makefile", s)]
        assert not [s for s in named if not (ROOT / s).is_file()]

    def test_make_targets(self, path):
        targets = set(re.findall(r"^([a-z]+):", read(ROOT / "Makefile"), re.MULTILINE))
        named = {t for text in code(path) for t in re.findall(r"(?<![\w-])make ([a-z]+)", text)}
        assert named <= targets

    def test_config_keys(self, path):
        config = configuration.load(DEFAULT)
        config["studies"] |= {"own": config["own_study"], "own_images": config["own_images"]}
        keys = [key for s in spans(path) for key in expanded(s)]
        keys = [k for k in keys if re.fullmatch(rf"({'|'.join(config)})(\.[\w*]+)+(?<!\.parquet)(?<!\.json)", k)]
        assert not [k for k in keys if not self.is_key(k.split("."), config)]

    def test_python_names(self, path):
        named = {m[0] for s in spans(path) if (m := re.match(r"armed(\.[A-Za-z_]\w*)+", s))}
        assert not [n for n in named if not self.is_python(n)]

    @staticmethod
    def exists(path: str) -> bool:
        literal = re.split(r"[{*<]", path)[0]
        if path.startswith("results/"):  # written by the workflow: the rules must name its file or folder
            written = ("workflow/rules/*.smk", "armed/*.py", "benchmarks/reliability/page.py")
            texts = [*(read(p) for pattern in written for p in ROOT.glob(pattern)), str(checksums.FOLDER)]
            known = {f"results/{t}.tsv" for t in schemas.TABLES} | {"results/", "results/figures/"}
            return literal in known or any("/".join(literal.split("/")[:2]) in text for text in texts)
        return path == NEW_METHOD or path.startswith(SITE) or (ROOT / literal).exists()

    @staticmethod
    def is_key(path: list[str], config: object) -> bool:
        if not path:
            return True
        if not isinstance(config, dict):
            return False
        options = list(config.values()) if path[0] == "*" else [config[path[0]]] if path[0] in config else []
        return any(TestNames.is_key(path[1:], option) for option in options)

    @staticmethod
    def is_python(dotted: str) -> bool:
        value = importlib.import_module("armed")
        for part in dotted.split(".")[1:]:
            try:
                value = getattr(value, part, None) or importlib.import_module(f"{value.__name__}.{part}")
            except (ImportError, AttributeError):
                return False
        return True


class TestPagesOfStudies:
    PARTS = ("Question", "Data and access", "Clusters and folds", "Network and settings", "What the paper found")
    PARTS = (*PARTS, "What comes out here", "Run only this study", "What is absent")

    def test_every_study_has_one(self):
        assert {p.stem for p in (ROOT / "docs" / "studies").glob("*.md")} == {*registry.BUILT_IN, "own"}

    @pytest.mark.parametrize("study", registry.BUILT_IN)
    def test_every_page_answers_the_same_questions(self, study):
        page = read(ROOT / "docs" / "studies" / f"{study}.md")
        titles = re.findall(r"^## (.+)$", page, re.MULTILINE)
        assert [t for t in titles if t in self.PARTS] == list(self.PARTS)
        assert f"`{study}`" in page
        assert page.count("<!-- results:begin -->") == page.count("<!-- results:end -->") == 1

    @pytest.mark.parametrize("study", registry.BUILT_IN)
    def test_a_stand_in_is_called_so(self, study):
        page = read(ROOT / "docs" / "studies" / f"{study}.md")
        assert ("stand-in" in page) == (registry.study(study).source == "stand-in")


class TestDeviations:
    PAGE = read(ROOT / "docs" / "deviations.md")

    @pytest.mark.parametrize("text", re.findall(r"^### (.+?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL))
    def test_each_says_what_it_is_worth(self, text):
        """Measured or not; and what is done here."""
        assert "*Effect*" in text
        assert "*Here*" in text or text.startswith("What the paper does not state")


class TestTablesOfTheDocuments:
    RESULTS = ROOT / "docs" / "results.md"

    @pytest.mark.parametrize("table", re.findall(r"^### `(.+?)\.\w+`$", read(RESULTS), re.MULTILINE))
    def test_columns(self, table):
        schema = schemas.table(table)
        text = section(self.RESULTS, f"`{table}.{'parquet' if table == 'predictions' else 'tsv'}`")
        assert [row[0].strip("`") for row in rows(text)] == list(schema.columns)
        assert f"Key: {', '.join(schema.key)}." in text

    def test_every_table_that_is_written_is_there(self):
        outputs = "".join(read(p) for p in ROOT.glob("workflow/rules/*.smk"))
        written = {t for t in schemas.TABLES if f'"{t}"' in outputs or f"results/{t}" in outputs}
        assert written == set(re.findall(r"^### `(.+?)\.\w+`$", read(self.RESULTS), re.MULTILINE))

    def test_partitions(self):
        scored = dict.fromkeys(p for study in registry.STUDIES.values() for p in study.partitions)
        scored |= dict.fromkeys(("seen_population", "latents", "latents_unseen"))  # of what autoencoders make of images
        assert [row[0].strip("`") for row in rows(section(self.RESULTS, "Partitions"))] == list(scored)

    def test_metrics(self):
        scored = {m for study in registry.STUDIES.values() for m in study.metrics}
        scored |= {m for metrics in registry.METRICS_OF_KIND.values() for m in metrics}  # of studies of the user's own
        scored |= {"z_accuracy", "adversary_accuracy", "probe_rank"}  # of the prediction job, not of predictions
        scored |= {"slope_recovery", "slope_ratio", "intercept_recovery", "feature_recovery"}  # of the truth
        scored |= {"localisation"}  # of where the truth is in images
        scored |= {"davies_bouldin", "calinski_harabasz", "cluster_probe_accuracy"}  # of the codes of autoencoders
        scored |= {"variance_cluster", "variance_group", "variance_phenotype"}
        assert {row[0].strip("`") for row in rows(section(self.RESULTS, "Metrics"))} == scored

    def test_claims(self):
        words = claims.schema()["properties"]["claims"]["items"]["properties"]
        table = {row[0].strip("`"): row[1] for row in rows(section(self.RESULTS, "Claims"))}
        groups = {group.id: group.statement for group in claims.groups(claims.load())}
        assert {id: table.get(id) for id in groups} == groups
        assert set(table) == {*groups, *words["statistic"]["enum"], *words["rule"]["properties"]["name"]["enum"]}

    def test_variants(self):
        told = {row[1].strip("`") for row in rows(section(self.RESULTS, "Models and variants"))}
        told |= {"resampled", registry.REFERENCE_PROTOCOL, registry.TUNED}
        config = configuration.load(DEFAULT)["studies"]
        there = {v for s in config for m in config[s]["variants"].values() for v in m}
        assert told == there | {registry.TUNED} | {v for s in registry.STUDIES.values() for v in s.data_variants} - {
            "main"
        }

    def test_methods(self):
        answers = {"no": False, "as any": False, "yes": True}
        table = {row[0].strip("`"): row[1:] for row in rows(section(ROOT / "baselines" / "README.md", "Methods"))}
        assert list(table) == list(registry.MODELS)
        for entry in registry.MODELS.values():
            path, training, prediction, unseen, effects, adversary = table[entry.id]
            assert entry.method.replace(":", ".").endswith(path.strip("`"))
            assert answers[training] == entry.uses_clusters_in_training
            assert answers[prediction.split(",")[0]] == entry.uses_clusters_at_prediction
            assert (unseen == "Z inferred") == entry.infers_clusters
            assert answers.get(effects, True) == entry.random_effects
            assert answers[adversary] == entry.adversary


TINY = """
run: {studies: [spirals_long], models: [label_smoothing]}
studies:
  spirals_long:
    {seeds: 1, slow_seeds: 1, folds: 2, training: {epochs: 1}, data: {n_per_cluster: 20, n_per_unseen_cluster: 10}}
"""
JOBS = """
from pathlib import Path
from armed import config, results
from armed.jobs import data, fit, predict
given = config.load(["config/config.yaml", "tiny.yaml"])
config.check(given)
study, model = "spirals_long", "label_smoothing"
settings = config.settings(given, study, model)
npz, splits, run = Path("data.npz"), Path("splits.parquet"), Path("run")
data.prepare(config.data_settings(given, study), [], npz)
data.split(config.split_settings(given, study), npz, splits)
fit.fit(settings, "", npz, splits, run, Path("checkpoints"), device="cpu", stack_size=256)
tables = ["predictions", "metrics", "cluster_metrics", "thresholds", "importance", "random_effects", "draws", "boundaries"]
predict.predict(settings, "simulated", npz, splits, run, None, {t: Path(t) for t in tables}, 1, 200)
metrics = results.read("metrics", "metrics")
assert set(metrics["partition"]) == {"seen", "unseen"}, metrics
print(config.__file__, settings["variants"]["main"])
"""


class TestRecipes:
    """docs/add_method.md and docs/add_dataset.md, done on a copy of the project."""

    METHOD = ROOT / "docs" / "add_method.md"
    GUIDES = (METHOD, ROOT / "docs" / "add_dataset.md")

    @pytest.fixture(scope="class")
    @classmethod
    def copy(cls, tmp_path_factory):
        folder = tmp_path_factory.mktemp("copy")
        for part in ("armed", "baselines", "config", "workflow"):
            shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__", ".snakemake"))
        (folder / "tests").mkdir()
        for module in ("test_architecture.py", "allowed_imports.py"):
            shutil.copy(ROOT / "tests" / module, folder / "tests")
        shutil.copy(ROOT / "pyproject.toml", folder)
        method = [b for b in blocks(cls.METHOD, "python") if "(StackMethod)" in b.text]
        assert len(method) == 1 and f"`{NEW_METHOD}`" in read(cls.METHOD)
        (folder / NEW_METHOD).write_text(method[0].text, encoding="utf-8")
        assert all(blocks(guide, "diff") for guide in cls.GUIDES)
        for guide in cls.GUIDES:
            for block in blocks(guide, "diff"):
                cls.apply(block.text, folder)
        (folder / "tiny.yaml").write_text(TINY, encoding="utf-8")
        return folder

    def test_the_new_method_runs_on_the_new_study(self, copy):
        told = self.run(copy, "-c", JOBS)
        assert str(copy) in told and "'smoothing': 0.1" in told

    def test_the_copy_keeps_the_rules_of_the_project(self, copy):
        wanted = "KeyReference or baselines_import"
        told = self.run(copy, "-m", "pytest", "-p", "no:cacheprovider", "tests/test_architecture.py", "-k", wanted)
        assert "passed" in told

    @staticmethod
    def apply(diff: str, folder: Path) -> None:
        """Replace the lines that start with a space or minus by those with a space or plus; they must be there once."""
        head, *lines = diff.splitlines(keepends=True)
        path = folder / head.removeprefix("--- ").strip()
        old, new = ("".join(line[1:] or "\n" for line in lines if line[0] in f"{sign} \n") for sign in "-+")
        text = path.read_text(encoding="utf-8")
        assert ("\n" + text).count("\n" + old) == 1, f"the change to {head.strip()} does not fit"
        path.write_text(("\n" + text).replace("\n" + old, "\n" + new)[1:], encoding="utf-8")

    @staticmethod
    def run(folder: Path, *arguments: str) -> str:
        environment = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout
