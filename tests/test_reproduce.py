"""A stored run repeated: what is the same, each kind of difference, and what cannot be repeated."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from config_edits import DEFAULT, OVERLAYS, SPIRALS, put

from armed import config as configuration
from armed import registry, reproduce, results, step_cache
from armed.errors import RunError
from armed.jobs import data, fit, predict
from armed.repetition.stored import StoredRun
from armed.reproducibility import source_digests, sources_of_fit
from armed.tolerance import MEAN, excess

STUDY, MODEL = "spirals_radius", "conventional"


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A results folder with one run, as the workflow's jobs leave it."""
    config = configuration.load([DEFAULT, OVERLAYS[0]])
    small = {"training.epochs": 1, "data.resampled": False, "data.n_clusters": 3, "data.n_per_cluster": 40}
    small |= {"data.n_per_unseen_cluster": 10, "tuning.models": [], "stack_size": 3, "variants": {}}
    for key, value in small.items():
        put(config, f"{SPIRALS}.{key}", value)
    configuration.check(config)
    folder = tmp_path_factory.mktemp("elsewhere") / "results"
    npz, splits = folder / "data" / f"{STUDY}.npz", folder / "splits" / f"{STUDY}.parquet"
    data.prepare(configuration.data_settings(config, STUDY), [], npz)
    data.split(configuration.split_settings(config, STUDY), npz, splits)
    settings, run = configuration.settings(config, STUDY, MODEL), folder / "runs" / STUDY / MODEL
    code = source_digests(sources_of_fit(registry.model(MODEL).method))
    with pytest.MonkeyPatch.context() as patched:  # as in the workflow's jobs
        for name in reproduce.ONE_THREAD:
            patched.setenv(name, "1")
        step_cache.USED.add("a step of an earlier fit of this process")
        fit.fit(settings, code, npz, splits, run, folder / "checkpoints", device="cpu", stack_size=3)
    out = {name: folder / f"{name}.tsv" for name in predict.KEPT_TABLES}
    out |= {"predictions": folder / "predictions" / STUDY / f"{MODEL}.parquet"}
    out |= {name: folder / f"{name}.parquet" for name in ("draws", "boundaries")}
    predict.predict(settings, "simulated", npz, splits, run, None, out, 1, 10)
    return folder


@pytest.fixture
def folder(finished, tmp_path, monkeypatch) -> Path:
    """A copy to change."""
    for name in reproduce.ONE_THREAD:
        monkeypatch.setenv(name, "1")
    monkeypatch.chdir(tmp_path)
    return shutil.copytree(finished, tmp_path / "results")


def edit(record: Path, change) -> None:
    content = json.loads(record.read_text())
    change(content)
    record.write_text(json.dumps(content))


def of(folder: Path) -> Path:
    return folder / "runs" / STUDY / MODEL


def change_weights(folder: Path, by: float) -> None:
    path = of(folder) / "main" / "weights.pt"
    state = torch.load(path, weights_only=True)
    name = next(iter(state))
    state[name].view(-1)[0] += by
    torch.save(state, path)


class TestTheSame:
    def test_bit_for_bit_wherever_it_lies(self, folder, tmp_path, capsys):
        moved = folder.rename(tmp_path / "moved here")
        assert reproduce.main([str(of(moved)), "--report", "found.json"]) == 0
        said = capsys.readouterr().out
        assert "The same, bit for bit." in said and "versions and machine are as recorded" in said
        told = json.loads(Path("found.json").read_text())
        parts = {part["name"]: part["outcome"] for part in told["parts"]}
        assert {"main/weights.pt", "main/history.tsv", "predictions", "metrics.tsv", "thresholds.tsv"} <= set(parts)
        assert told["identical"] and set(parts.values()) == {"identical"}

    def test_by_name_and_from_the_record_alone_as_in_an_archive(self, folder, capsys):
        shutil.rmtree(of(folder) / "main")
        assert reproduce.main([f"{STUDY}/{MODEL}"]) == 0
        assert "main/weights.pt (by its digest)" in capsys.readouterr().out

    def test_the_record_tells_what_a_repetition_needs(self, folder):
        record = json.loads((of(folder) / "run.json").read_text())
        assert set(record["inputs"]) == {"data", "splits"} and set(record["files"]) >= {"main/weights.pt"}
        assert record["stack_size"] == 3 and record["torch"]["threads"] == 1 and record["compiled_steps"] == []
        assert record["environment"]["processor"] and len(record["environment"]["instructions"]) == 16
        assert record["finished"] and "changed_files" in record["environment"]


class TestDifferent:
    def test_changed_weights_are_found(self, folder, capsys):
        change_weights(folder, 1e-3)
        assert reproduce.main([f"{STUDY}/{MODEL}"]) == 1
        said = capsys.readouterr().out
        assert "main/weights.pt (changed since the run wrote it)  different, by 0.001" in said
        assert "files were changed, or something is not repeatable" in said

    def test_a_changed_number_of_a_table_is_found(self, folder, capsys):
        table = results.read("metrics", folder / "metrics.tsv")
        table.loc[0, "value"] += 1e-9
        results.write("metrics", table, folder / "metrics.tsv")
        assert reproduce.main([f"{STUDY}/{MODEL}"]) == 1
        assert re.search(r"\n  metrics.tsv +different, by 1e-09 at most\n", capsys.readouterr().out)

    def test_rows_of_other_models_and_jobs_do_not_count(self, folder):
        table = results.read("metrics", folder / "metrics.tsv")
        rows = table.head(1)
        more = [rows.assign(model="armed"), rows.assign(metric="localisation")]
        results.write("metrics", pd.concat([table, *more]), folder / "metrics.tsv")
        assert reproduce.main([f"{STUDY}/{MODEL}"]) == 0

    def test_other_code_is_named_and_not_excused(self, folder, capsys):
        edit(of(folder) / "run.json", lambda record: record.update(source_digest=["0" * 64]))
        assert reproduce.main([f"{STUDY}/{MODEL}"]) == 0  # as numbers are the same
        assert "source digest: ['000" in capsys.readouterr().out
        edit(of(folder) / "run.json", lambda record: record.update(files={}))
        edit(of(folder) / "run.json", lambda record: record["environment"]["packages"].update(torch="1.0"))
        change_weights(folder, 1e-7)
        assert reproduce.main([f"{STUDY}/{MODEL}"]) == 1
        assert "the code that fits is not that of the run" in capsys.readouterr().out


class TestElsewhere:
    """Files that another machine would have written: weights that differ by a rounding error, or by much."""

    @pytest.fixture
    def elsewhere(self, folder):
        def change(record):
            record["environment"] |= {"processor": "another", "python": "3.0.0", "git_commit": "0" * 40}
            record["environment"]["packages"]["torch"] = "1.0"
            record["torch"]["instructions"] = "AVX512"
            record["compiled_steps"] = ["abc"]
            del record["files"]

        edit(of(folder) / "run.json", change)
        return folder

    def test_rounding_is_within_the_tolerance(self, elsewhere, capsys):
        change_weights(elsewhere, 1e-6)
        assert reproduce.main([f"{STUDY}/{MODEL}"]) == 0
        said = capsys.readouterr().out
        assert "Not the same bit for bit, but within the tolerance" in said
        for name in ("processor", "python", "packages torch", "torch instructions", "compiled steps", "git commit"):
            assert f"\n  {name}: " in said

    def test_other_scores_are_beyond_it(self, elsewhere, capsys):
        change_weights(elsewhere, 1e-6)
        table = results.read("metrics", elsewhere / "metrics.tsv")
        aurocs = table["metric"] == "auroc"
        table.loc[aurocs, "value"] = np.where(table.loc[aurocs, "value"] > 0.5, 0.0, 1.0)
        results.write("metrics", table, elsewhere / "metrics.tsv")
        assert reproduce.main([f"{STUDY}/{MODEL}"]) == 1
        said = capsys.readouterr().out
        assert re.search(r"\n  main, \w+, auroc: mean [01], again", said) and "by more than another machine" in said


class TestCannotBeRepeated:
    def error(self, capsys, given: str) -> str:
        assert reproduce.main([given]) == 2
        return capsys.readouterr().err

    @pytest.mark.parametrize(
        ("given", "said"),
        [
            (f"results/runs/{STUDY}/conventionel", f"Did you mean '{STUDY}/conventional'"),
            ("spirals_radios/conventional", f"Did you mean '{STUDY}/conventional'"),
            (f"{STUDY}/armed_randomized_z", f"Repeat {STUDY}/armed."),
            (f"nowhere/results/runs/{STUDY}/armed", "no finished run in nowhere/results/runs"),
            (f"results/{STUDY}/armed", "ends in runs/STUDY/MODEL"),
            ("armed", "does not name a run"),
            ("", "does not name a run"),
        ],
    )
    def test_there_is_no_such_run(self, folder, capsys, given, said):
        assert said in self.error(capsys, given)

    def test_a_run_that_is_not_complete(self, folder, capsys):
        (folder / "runs" / STUDY / "armed").mkdir()
        assert "is not complete, as it has no run.json" in self.error(capsys, f"{STUDY}/armed")

    @pytest.mark.parametrize("text", ["{", "[]", "{}", "\x00"])
    def test_a_record_that_is_none(self, folder, capsys, text):
        (of(folder) / "run.json").write_text(text)
        assert "Make the run again" in self.error(capsys, f"{STUDY}/{MODEL}")

    def test_data_gone_and_splits_changed_are_told_together(self, folder, capsys):
        (folder / "data" / f"{STUDY}.npz").unlink()
        splits = folder / "splits" / f"{STUDY}.parquet"
        pd.read_parquet(splits).iloc[1:].to_parquet(splits)
        said = self.error(capsys, f"{STUDY}/{MODEL}")
        assert "its data are not there" in said and "its splits were changed since" in said

    def test_a_study_of_ones_own_needs_its_configuration(self, folder, capsys):
        for path in folder.glob(f"*/{STUDY}*"):
            path.rename(path.with_name(path.name.replace(STUDY, "wards")))
        assert "environment.json does not have its configuration" in self.error(capsys, f"wards/{MODEL}")
        config = configuration.load([DEFAULT])
        (folder / "mine.csv").write_text("x\n1\n")
        own = {"path": str(folder / "mine.csv"), "label": "ill", "cluster": "ward"}
        config["studies"]["wards"] = {"data": own}
        configuration.complete(config)
        (folder / "environment.json").write_text(json.dumps({"configuration": config}))
        StoredRun.find(f"wards/{MODEL}").check()
        registry.STUDIES.pop("wards")

    def test_all_of_these_are_errors_of_the_project(self, folder):
        with pytest.raises(RunError):
            StoredRun.find("results/runs/x/y")


class TestTolerance:
    def frame(self, *values):
        return pd.DataFrame({"metric": "auroc", "seed": range(len(values)), "value": values})

    def test_means_within_their_interval(self):
        stored = self.frame(0.6, 0.7, 0.8, 0.9)  # s.d. 0.13, half-width 0.13
        assert excess(stored, self.frame(0.9, 0.8, 0.7, 0.6), ["metric"]) == []
        assert excess(stored, self.frame(0.7, 0.8, 0.9, 1.0), ["metric"]) == []
        assert len(excess(stored, self.frame(0.8, 0.9, 1.0, 1.0), ["metric"])) == 1

    def test_a_mean_without_spread_has_a_least_tolerance(self):
        stored = self.frame(0.7, 0.7)
        assert excess(stored, self.frame(0.7 + 0.9 * MEAN, 0.7 + 0.9 * MEAN), ["metric"]) == []
        assert len(excess(stored, self.frame(0.7 + 1.1 * MEAN, 0.7 + 1.1 * MEAN), ["metric"])) == 1

    def test_undefined_on_one_side(self):
        assert len(excess(self.frame(0.7), self.frame(np.nan), ["metric"])) == 1
        assert excess(self.frame(np.nan), self.frame(np.nan), ["metric"]) == []
