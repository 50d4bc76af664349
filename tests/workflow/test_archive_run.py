"""Archives of finished runs: checked from the file alone, and without anything of a subject of restricted or own data."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pandas as pd
import pytest
from conftest import Project

from armed.data.adni_visits import write_stand_in

NAME = "armed-bench-archive.zip"
RID, SITE = 7_310_000, 8_000  # added to the numbers of subjects and sites, which then occur nowhere by chance
SMALL = """seeds: 1
    slow_seeds: 1
    folds: 2
    training: {epochs: 2}
    cluster_inference: {epochs: 2}
    tuning: {models: []}"""
WITHHELD = f"""
run: {{studies: [spirals_radius, mci_probes, wards], models: [conventional, armed]}}
engine: eager
predictions: {{unseen_seeds: 1}}
studies:
  spirals_radius:
    {SMALL}
    data: {{n_per_cluster: 60, n_per_unseen_cluster: 30, resampled: false}}
  mci_probes:
    {SMALL}
    data: {{path: mine/ADNIMERGE.csv, resampled: false}}
  wards:
    {SMALL}
    data: {{path: mine/wards.csv, label: ill, positive: Zq7-yes, cluster: ward, subject: who, unseen: [Zq7-0, Zq7-1]}}
"""


def verified(project: Project, path, *arguments: str) -> subprocess.CompletedProcess:
    """The check, as `make verify` runs it, where there is no results folder."""
    assert not (project.folder / "results").exists()
    command = [sys.executable, "-m", "armed.verify", str(path), *arguments]
    return subprocess.run(
        command, cwd=project.folder, env=project.environment(), capture_output=True, text=True, timeout=300
    )


@pytest.fixture(scope="module")
def archive(smoke, tmp_path_factory):
    """The archive of the smoke run, in a folder of its own."""
    assert "archive" not in smoke.planned("--forceall").rules  # no part of a plain run
    done = smoke.run("archive")
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return shutil.copy(smoke.folder / "run" / "results" / NAME, tmp_path_factory.mktemp("elsewhere") / NAME)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A run on a table of the user's own, and on a table as ADNI gives it, where the user has it."""
    project = Project(tmp_path_factory.mktemp("withheld"))
    (project.folder / "withheld.yaml").write_text(WITHHELD, encoding="utf-8")
    mine = project.folder / "run" / "mine"
    write_stand_in(mine, 3)
    table = pd.read_csv(mine / "ADNIMERGE.csv", dtype=str, keep_default_na=False)
    table["RID"] = (table["RID"].astype(int) + RID).astype(str)
    table["SITE"] = (table["SITE"].astype(int) + SITE).astype(str)
    table["PTID"] = "Zq7" + table["PTID"]
    table.to_csv(mine / "ADNIMERGE.csv", index=False)
    rng = np.random.default_rng(0)
    wards = pd.DataFrame({"age": rng.normal(50, 10, 160).round(1), "sex": rng.choice(["Zq7-f", "Zq7-m"], 160)})
    wards["ward"] = [f"Zq7-{k // 20}" for k in range(160)]
    wards["who"] = [f"Zq7-{k // 2}" for k in range(160)]
    wards["ill"] = rng.choice(["Zq7-yes", "Zq7-no"], 160)
    wards.to_csv(mine / "wards.csv", index=False)
    done = project.run("archive", config="withheld.yaml")
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return project


@pytest.mark.slow
@pytest.mark.xdist_group("workflow")
class TestSmoke:
    def test_the_check_agrees_with_all_it_can_compute(self, smoke, archive, tmp_path):
        done = verified(smoke, archive, "--report", str(tmp_path / "found.json"))
        assert done.returncode == 0, done.stdout + done.stderr
        told = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
        tables = {table["table"]: table for table in told["tables"]}
        for name in ("metrics", "cluster_metrics", "summary", "comparison", "paired_tests", "deconfounding"):
            table = tables[f"{name}.tsv"]
            assert table["recomputed"] == table["agree"] > 0 and table["largest"] == 0
        networks = tables["metrics.tsv"]["reasons"]
        assert list(networks) == ["read off the fitted networks, which are not in the archive"]

    def test_everything_is_there_but_the_fits(self, smoke, archive):
        with zipfile.ZipFile(archive) as opened:
            names = set(opened.namelist())
        expected = {"README.md", "manifest.json", "config/config.yaml", "results/report.html", "results/claims.tsv"}
        expected |= {f"results/predictions/spirals_radius/{m}.parquet" for m in ("conventional", "mixedlm", "armed")}
        assert expected <= names
        assert not [name for name in names if name.endswith((".pt", ".log")) or "/raw/" in name]

    def test_a_second_archive_is_the_same_file(self, smoke, archive):
        done = smoke.run("archive", "--forcerun", "archive")
        assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
        again = smoke.folder / "run" / "results" / NAME
        assert again.read_bytes() == archive.read_bytes()


@pytest.mark.slow
@pytest.mark.xdist_group("tables")
class TestWithheld:
    def test_nothing_of_a_subject_or_cluster_is_in_it(self, project):
        found, read = {}, 0
        with zipfile.ZipFile(project.folder / "run" / "results" / NAME) as archive:
            for name in archive.namelist():
                content = archive.read(name)
                texts = [name, content.decode("latin-1")]
                if name.endswith(".npz"):
                    with np.load(io.BytesIO(content)) as arrays:
                        texts += [" ".join(map(str, np.ravel(array).tolist())) for array in arrays.values()]
                if name.endswith(".parquet"):
                    texts.append(pd.read_parquet(io.BytesIO(content)).to_csv())
                read += len(texts)
                pattern = rf"Zq7|site {str(SITE)[:2]}\d\d|(?<![\d.]){str(RID)[:3]}\d{{4}}(?![\d.])"
                texts = [
                    re.sub(r"\b[0-9a-f]{40,64}\b", "", text) for text in texts
                ]  # digests, with any digits by chance
                if any(told := re.search(pattern, text) for text in texts):
                    found[name] = told
        assert found == {} and read > 100
        # In what stays behind they all are.
        own = (project.folder / "run" / "results" / "cluster_metrics.tsv").read_text(encoding="utf-8")
        assert "Zq7-0" in own and re.search(rf"site {str(SITE)[:2]}\d\d", own)

    def test_its_aggregates_are_and_the_check_says_what_it_cannot_compute(self, project):
        path = project.folder / "run" / "results" / NAME
        done = verified(project, path)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "metrics.tsv: " in done.stdout and "of restricted or own data the archive has no subjects" in done.stdout
        with zipfile.ZipFile(path) as archive:
            metrics = pd.read_csv(archive.open("results/metrics.tsv"), sep="\t")
            told = json.loads(archive.read("manifest.json"))
        sources = metrics.groupby("study")["source"].agg(set).to_dict()
        assert sources == {"spirals_radius": {"simulated"}, "mci_probes": {"restricted"}, "wards": {"own"}}
        left_out = {entry["what"] for entry in told["left_out"]}
        assert {"report.html", "data/wards.npz", "predictions/mci_probes/armed.parquet"} <= left_out
