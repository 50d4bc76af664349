"""The commands of the documents: each line of a bash block runs, as it stands or in a form that does less."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_docs import DOCUMENTS, ROOT, blocks, name

pytestmark = pytest.mark.slow
LEFT_OUT = {".git", ".venv", "results", "smoke", "paper", "data", ".snakemake"}

# Pattern of a command, and the form in which it is run; the first that fits. A command that none fits fails the test.
FORMS = (
    (r"snakemake (.*) -n", r"snakemake \1 -n"),
    (r"snakemake (.*) --use-conda", r"snakemake \1 -n"),  # conda itself may not be there
    (r"snakemake (.*)", r"snakemake \1 -n"),
    (r"make ([a-z-]+(?: [A-Z]+=\S+)*)", r"make --dry-run --assume-old=.venv/.installed \1"),
    (r"\.venv/bin/python -m pytest (.*)", r".venv/bin/python -m pytest \1 --collect-only -n 0"),
    # All options must be known but the last.
    (
        r"\.venv/bin/python -m (benchmarks[._a-z]*)( .*)?",
        r"! .venv/bin/python -m \1\2 --none 2> told && grep -q 'unrecognized arguments: --none$' told",
    ),
    # In a container `snakemake` gets what follows the image's name; engines and conda itself may not be there.
    (r"docker run .* armed-bench (.*)", r"snakemake --directory mine \1 -n"),
    (r"docker build -t armed-bench \.", r"test -f Dockerfile"),
    (r"apptainer build armed-bench\.sif docker-daemon:armed-bench:latest", r"test -f Dockerfile"),
    (r"apptainer run .* armed-bench\.sif (.*)", r"snakemake --directory mine \1 -n"),
    (r"\.venv/bin/python -m armed\.reproduce .*", r".venv/bin/python -m armed.reproduce --help | grep -q RUN"),
    (r"conda env create -f (\S+)", r"test -f \1"),
    (r"conda activate (\S+)", r"grep -x 'name: \1' environment.yml"),
    (r"source \.venv/bin/activate", r"source .venv/bin/activate"),
    (r"mkdir .*", r"\g<0>"),
    (r"cp (-r )?\S+ \S+", r"\g<0>"),
    (r"(scancel) (--name) \S+", r"""grep -q '"\1", "\2"' benchmarks/reliability/slurm.py"""),  # there it is run
)


def commands(path: Path) -> list[str]:
    """Lines of the bash blocks of a document, without what follows a # and empty ones."""
    lines = [line for block in blocks(path, "bash") for line in block.text.splitlines()]
    return [line for line in (re.sub(r"(^|\s+)#.*", "", line) for line in lines) if line]


def form(command: str) -> str:
    for pattern, instead in FORMS:
        found = re.fullmatch(pattern, command)
        if found:
            return found.expand(instead)
    pytest.fail(f"no form is known to test the command '{command}' in; add one to the table of this test")


WITH_COMMANDS = [p for p in DOCUMENTS if commands(p)]


def wards(columns: list[str]) -> pd.DataFrame:
    """A table of the user's own with these columns, or age, sex, ward and ill."""
    rng = np.random.default_rng(0)
    group = np.arange(160) // 4
    if not columns:
        sex = np.where(rng.random(160) < 0.5, "f", "m")
        return pd.DataFrame(
            {"age": rng.normal(50, 10, 160), "sex": sex, "ward": group // 5, "ill": rng.permutation(group % 2)}
        )
    values = {column: rng.integers(0, 3, 160) for column in columns}
    return pd.DataFrame(
        values | {"mom": np.arange(160), "comm": group, "immun": np.where(rng.random(160) < 0.4, "Y", "N")}
    )


@pytest.fixture
def project(tmp_path):
    """A copy of the sources, with the environment of the tests in the place of its own."""
    folder = tmp_path / "project"

    def ignored(where: str, names: list[str]) -> set[str]:
        return {n for n in names if n in ("__pycache__", "_build", "api") or (Path(where) == ROOT and n in LEFT_OUT)}

    shutil.copytree(ROOT, folder, ignore=ignored)
    (folder / ".venv").symlink_to(sys.prefix)
    return folder


def prepare(document: Path, folder: Path) -> None:
    """The files that a reader of the document has written: overlays, tables."""
    for block in blocks(document, "yaml"):
        named = re.match(r"# (\w+\.yaml)$", block.text, re.MULTILINE)
        (folder / (named[1] if named else "mine.yaml")).write_text(block.text, encoding="utf-8")
    if not (folder / "mine.yaml").exists():
        (folder / "mine.yaml").write_text("run: {studies: [spirals_radius]}\n", encoding="utf-8")
    header = next(
        (b.text.splitlines()[0].split(",") for b in blocks(document, "") if b.text.startswith("rownames,")), []
    )
    wards(header).to_csv(folder / ("guImmun.csv" if header else "wards.csv"), index=False)


@pytest.mark.parametrize("document", WITH_COMMANDS, ids=name)
def test_commands_of(document, project):
    """One after another in one shell, as a reader types them."""
    prepare(document, project)
    script = ["set -e", *(f"echo '{'>' * 3} ' {i}\n{form(c)}" for i, c in enumerate(commands(document)))]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    if "label_smoothing" in "".join(script):  # a method that the reader has added by then
        script = [line.replace(', "label_smoothing"', "") for line in script]
    done = subprocess.run(
        ["bash", "-c", "\n".join(script)], cwd=project, env=environment, capture_output=True, text=True, timeout=540
    )
    assert done.returncode == 0, "\n".join(script) + (done.stdout + done.stderr)[-3000:]
    assert done.stdout.count(">>> ") >= len(commands(document))


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_no_command_hides_in_another_block(document):
    lines = [line for block in blocks(document, "") for line in block.text.splitlines()]
    assert not [li for li in lines if re.match(r"\$?\s*(snakemake|make|pip|python|conda|git|cp|mkdir) \S", li)]


def test_an_unknown_command_fails():
    with pytest.raises(pytest.fail.Exception, match="no form is known"):
        form("curl https://example.org")


def test_an_option_that_is_not_there_fails(project):
    command = form(".venv/bin/python -m benchmarks --quikc")
    done = subprocess.run(["bash", "-c", command], cwd=project, capture_output=True, text=True, timeout=120)
    assert done.returncode != 0


def test_the_readme_has_its_two_commands_and_a_table_of_ones_own():
    told = commands(ROOT / "README.md")
    assert told[:2] == ["make smoke", "make results"]
    assert "snakemake --cores 8 --directory mine --configfile mine.yaml" in told
