"""What the check of an archive finds: agreement of an honest one, every number changed by hand, and what cannot be computed."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from archive_results import KEPT, OWN, RESTRICTED, small_config, write_run

from armed import registry, results, verify
from armed.archive import files
from armed.archive.compare import compare
from armed.archive.make import make_archive
from armed.archive.verify import verify as check


@pytest.fixture(scope="module")
def honest(tmp_path_factory):
    """An archive whose results folder is gone."""
    folder = tmp_path_factory.mktemp("honest")
    config = small_config(folder, ["spirals_radius", "mci_conversion", "live_cell", RESTRICTED, OWN])
    write_run(folder / "results", config)
    make_archive(folder / "results", config, folder / "a.zip")
    shutil.rmtree(folder / "results")
    yield folder / "a.zip"
    registry.STUDIES.pop(OWN, None)


@pytest.fixture
def forge(honest, tmp_path):
    """Writes the archive anew with one file changed, and the manifest as if it had always been so."""

    def write(name: str, change) -> Path:
        folder = tmp_path / "inside"
        manifest = files.unpack(honest, folder)
        change(folder / name)
        told = {key: value for key, value in manifest.items() if key not in ("files", "format")}
        members = [files.Member(f["name"], f["what"], folder / f["name"]) for f in manifest["files"]]
        files.write(tmp_path / "forged.zip", [m for m in members if m.content.is_file()], told)
        return tmp_path / "forged.zip"

    return write


def change_cell(row: dict, column: str, value: object):
    """Changes one cell of a table, named by other cells."""

    def change(path: Path) -> None:
        table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
        rows = (table[list(row)] == list(row.values())).all(axis=1)
        assert rows.sum() == 1
        table.loc[rows, column] = str(value)
        table.to_csv(path, sep="\t", index=False)

    return change


def outcomes(path: Path) -> dict:
    return {outcome.table: outcome for outcome in check(path).outcomes}


@pytest.fixture(scope="module")
def found(honest):
    return outcomes(honest)


CELL = {
    "study": "spirals_radius",
    "seed": "1",
    "fold": "0",
    "model": "armed",
    "partition": "seen",
    "metric": "accuracy",
}


class TestHonest:
    def test_all_that_can_be_recomputed_agrees(self, found):
        assert all(outcome.agrees for outcome in found.values())
        for name in ("metrics", "cluster_metrics", "summary", "comparison", "paired_tests", "claims", "thresholds"):
            outcome = found[f"{name}.tsv"]
            assert outcome.recomputed == outcome.agree > 0, name
            assert outcome.largest == 0
        assert found["tables/*.tsv"].agree == found["tables/*.tsv"].rows > 0

    def test_every_row_is_recomputed_or_has_a_reason(self, found):
        for name, outcome in found.items():
            assert outcome.rows == outcome.recomputed + sum(outcome.reasons.values()), name

    def test_reasons(self, found):
        metrics = found["metrics.tsv"].reasons
        assert len(metrics) == 3 and sum("restricted or own" in reason for reason in metrics) == 1
        (late,) = (reason for reason in metrics if f"seeds below {KEPT}" in reason)
        entry = registry.study("spirals_radius")
        # The third seed: two models, two folds; within clusters one value of all folds.
        per_study = {
            s: 2 * (2 * (len(registry.study(s).metrics) - 1) + 1) for s in ("spirals_radius", "mci_conversion")
        }
        assert metrics[late] == sum(per_study.values()) and entry.threshold == "constant"
        assert found["importance.tsv"].recomputed == found["random_effects.tsv"].recomputed == 0
        assert all("chosen on" in reason for reason in found["thresholds.tsv"].reasons)

    def test_codes_errors_and_draws_of_all_seeds_are_computed_again(self, found):
        draws = found["parts/*/*/*draws.parquet"]
        # Errors of codes for two models on two partitions of unseen clusters, 100 draws of each.
        assert draws.recomputed == draws.agree == 2 * 2 * 100
        assert sum(draws.reasons.values()) == draws.rows - draws.recomputed > 0

    def test_corrected_intervals_of_withheld_studies_are_set_aside_where_they_rest_on_clusters(self, found):
        reasons = found["summary.tsv"].reasons
        assert len(reasons) == 1
        assert found["claims.tsv"].recomputed == found["claims.tsv"].agree

    def test_the_command(self, honest, tmp_path, capsys, monkeypatch):
        monkeypatch.chdir(tmp_path)
        shutil.copy(honest, tmp_path / "elsewhere.zip")
        assert verify.main(["elsewhere.zip", "--report", "found.json"]) == verify.AGREES
        told = capsys.readouterr().out
        assert "All that can be recomputed agrees." in told and "Cannot be recomputed:" in told
        report = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
        assert report["agrees"] and {t["table"] for t in report["tables"]} >= {"metrics.tsv", "tables/*.tsv"}
        assert {p.name for p in tmp_path.iterdir()} == {"elsewhere.zip", "found.json"}


class TestForged:
    def test_a_number_of_the_metrics(self, forge, capsys):
        path = forge("results/metrics.tsv", change_cell(CELL, "value", 0.99))
        assert verify.main([str(path)]) == verify.DIFFERS
        told = capsys.readouterr().out
        assert "metrics.tsv: study spirals_radius, seed 1, fold 0, model armed" in told
        assert "metric accuracy: value is 0.99, computed again" in told and "does NOT agree" in told
        assert (
            "summary.tsv" in told.partition("does NOT")[0].rpartition("differences in")[0]
        )  # the mean is not that of it

    def test_a_number_of_the_metrics_by_little(self, forge):
        def change(path):
            table = results.read("metrics", path)
            row = table.index[(table["study"] == "live_cell") & (table["metric"] == "davies_bouldin")][0]
            table.loc[row, "value"] += 1e-4
            results.write("metrics", table, path)

        found = outcomes(forge("results/metrics.tsv", change))["metrics.tsv"]
        assert found.wrong == 1 and "davies_bouldin" in found.differences[0]
        assert 1e-6 < found.largest <= 1e-4  # relative, as the number is above 1

    @pytest.mark.parametrize(("column", "value"), [("mixed", 9.0), ("y_true", None)])
    def test_a_prediction(self, forge, column, value):
        def change(path):
            table = results.read("predictions", path)
            row = table.index[(table["partition"] == "seen") & (table["seed"] == 2) & (table["mixed"] < 0)][0]
            table.loc[row, column] = 1 - table.loc[row, "y_true"] if value is None else value
            results.write("predictions", table, path)

        found = outcomes(forge("results/predictions/mci_conversion/armed.parquet", change))
        assert not found["metrics.tsv"].agrees
        assert all("mci_conversion, seed 2" in told and "armed" in told for told in found["metrics.tsv"].differences)

    def test_a_prediction_that_is_gone(self, forge):
        def change(path):
            table = results.read("predictions", path)
            results.write("predictions", table.iloc[1:], path)

        assert not outcomes(forge("results/predictions/spirals_radius/armed.parquet", change))["metrics.tsv"].agrees

    @pytest.mark.parametrize("name", ["latent", "error_mixed", "cluster"])
    def test_codes_and_errors(self, forge, name):
        def change(path):
            with np.load(path) as opened:
                arrays = dict(opened)
            arrays[name] = np.roll(arrays[name], 7, axis=0)
            np.savez_compressed(path, **arrays)

        found = outcomes(forge("results/latents/live_cell/armed.npz", change))
        assert not found["metrics.tsv"].agrees or not found["cluster_metrics.tsv"].agrees

    def test_a_threshold(self, forge):
        def change(path):
            table = results.read("thresholds", path)
            table.loc[table["study"] == "mci_conversion", "threshold"] = 0.6
            results.write("thresholds", table, path)

        assert not outcomes(forge("results/thresholds.tsv", change))["metrics.tsv"].agrees

    def test_what_follows_from_the_metrics(self, forge):
        changed = {"summary": "ci_low", "comparison": "delta", "paired_tests": "p", "claims": "verdict"}

        def change(folder):
            for table, column in changed.items():
                frame = results.read(table, folder / f"{table}.tsv")
                row = frame.index[(frame["study"] == "live_cell") & frame[column].notna()][0]
                value = frame.loc[row, column]
                other = {"not run": "supported"}.get(value, "not run") if column == "verdict" else value * 0.9 + 0.001
                frame.loc[row, column] = other
                results.write(table, frame, folder / f"{table}.tsv")

        found = outcomes(forge("results", change))
        for table in changed:
            assert found[f"{table}.tsv"].wrong == 1 and "study live_cell" in found[f"{table}.tsv"].differences[0]
        assert found["metrics.tsv"].agrees

    def test_a_row_that_is_gone_and_one_that_is_new(self, forge):
        def change(path):
            table = results.read("cluster_metrics", path)
            table.loc[(table["seed"] == 0) & (table["study"] == "spirals_radius"), "seed"] = 7
            results.write("cluster_metrics", table, path)

        found = outcomes(forge("results/cluster_metrics.tsv", change))["cluster_metrics.tsv"]
        assert any("is missing" in told for told in found.differences) or found.wrong > 20
        assert found.wrong > 0

    def test_a_table_for_readers(self, forge):
        def change(path):
            path.write_text(path.read_text(encoding="utf-8").replace("0.", "9.", 1), encoding="utf-8")

        found = outcomes(forge("results/tables/spirals_radius_results.tsv", change))["tables/*.tsv"]
        assert found.wrong == 1 and "tables/spirals_radius_results.tsv, line " in found.differences[0]

    def test_the_published_numbers_are_told_of(self, forge):
        path = forge("config/published_results.csv", lambda p: p.write_text(p.read_text().replace("0.7", "0.6", 1)))
        assert "config/published_results.csv of the archive is not that of this version" in check(path).remarks

    def test_absent_predictions_are_a_reason_and_no_difference(self, forge):
        found = outcomes(forge("results/predictions/spirals_radius/armed.parquet", lambda p: p.unlink()))["metrics.tsv"]
        assert found.agrees and any("no predictions of this model" in reason for reason in found.reasons)


class TestUnreadable:
    def test_the_command_says_so(self, tmp_path, capsys, honest):
        shutil.copy(honest, tmp_path / "a.zip")
        with zipfile.ZipFile(tmp_path / "a.zip", "a") as archive:
            archive.writestr("../evil.py", "x")
        assert verify.main([str(tmp_path / "a.zip")]) == verify.NOT_READ
        told = capsys.readouterr()
        assert "evil.py" in told.err and told.out == ""
        assert verify.main([str(tmp_path / "absent.zip")]) == verify.NOT_READ

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("results/metrics.tsv", b"study\tvalue\n"),
            ("config/config.yaml", b"run: [\n"),
            ("config/config.yaml", b"run: {studies: [none]}\n"),
            ("results/latents/live_cell/armed.npz", None),
        ],
    )
    def test_content_of_another_kind(self, forge, name, content, capsys):
        def change(path):
            if content is None:
                np.savez(path, latent=np.zeros(3))
            else:
                path.write_bytes(content)

        assert verify.main([str(forge(name, change))]) == verify.NOT_READ
        assert capsys.readouterr().err

    def test_pickles_are_not_loaded(self, forge, tmp_path):
        class Trap:
            def __reduce__(self):
                return Path.touch, (tmp_path / "run",)

        def change(path):
            np.savez(path, latent=np.array([Trap()], dtype=object), allow_pickle=True)

        assert verify.main([str(forge("results/latents/live_cell/armed.npz", change))]) == verify.NOT_READ
        assert not (tmp_path / "run").exists()


class TestCompare:
    def frame(self, **columns):
        rows = {"study": "s", "model": ["a", "b"], "variant": "main", "unit": "dataset"}
        numbers = {"share": [0.1, np.nan], "ci_low": 0.0, "ci_high": 1.0, "n_seeds": 2, "n_folds": 2}
        return pd.DataFrame(rows | numbers | columns)

    def test_undefined_on_both_sides_agrees_and_on_one_side_does_not(self):
        assert compare("deconfounding", self.frame(), self.frame()).agree == 2
        found = compare("deconfounding", self.frame(), self.frame(share=[0.1, 0.2]))
        assert (
            found.wrong == 1
            and "model b" in found.differences[0]
            and "share is nan, computed again 0.2" in found.differences[0]
        )

    def test_rounding_agrees_and_is_told(self):
        found = compare("deconfounding", self.frame(), self.frame(share=[0.1 + 1e-8, np.nan]))
        assert found.agrees and found.largest == pytest.approx(1e-8)
        assert not compare("deconfounding", self.frame(), self.frame(share=[0.1 + 1e-5, np.nan])).agrees

    def test_empty_tables(self):
        empty = results.empty("deconfounding")
        assert compare("deconfounding", empty, empty).agrees
        assert compare("deconfounding", empty, self.frame()).wrong == 2
        assert compare("deconfounding", self.frame(), empty).wrong == 2
