"""The jobs on tables: hospitals left out in turn, thresholds from training data, every kind of label, the authors' way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from config_edits import DEFAULT, put

from armed import config as configuration
from armed import registry, results
from armed.data.adni_visits import write_stand_in
from armed.data.heart import HOSPITALS
from armed.data.study import StudyData
from armed.jobs import data, fit, predict
from armed.jobs.collect import references, summarise_all
from armed.metrics import evaluate, youden_threshold

TABLES = (
    "predictions",
    "metrics",
    "cluster_metrics",
    "thresholds",
    "importance",
    "random_effects",
    "draws",
    "boundaries",
)
SMALL = {"seeds": 2, "slow_seeds": 1, "folds": 2, "training.epochs": 3, "cluster_inference.epochs": 2}


def run(config: dict, study: str, models: list[str], raw: list[Path], folder: Path) -> dict[str, pd.DataFrame]:
    """All jobs of some models; the tables put together."""
    npz, splits, inference = folder / "data.npz", folder / "splits.parquet", folder / "inference"
    data.prepare(configuration.data_settings(config, study), raw, npz)
    data.split(configuration.split_settings(config, study), npz, splits)
    fit.fit_cluster_inference(
        configuration.cluster_inference_settings(config, study), "", npz, splits, inference, folder / "c", **ENGINE
    )
    for model in models:
        settings, source = configuration.settings(config, study, model), configuration.source(config, study)
        fit.fit(settings, "", npz, splits, folder / model, folder / "c", **ENGINE)
        given = inference if registry.model(model).infers_clusters else None
        out = {table: folder / f"{model}_{table}" for table in TABLES}
        predict.predict(settings, source, npz, splits, folder / model, given, out, 1, 200)
    names = [table for table in TABLES if table != "boundaries"]
    read = {t: [results.read(t, folder / f"{m}_{t}").assign(model=m) for m in models] for t in names}
    return {table: pd.concat(frames, ignore_index=True) for table, frames in read.items()}


ENGINE = {"device": "cpu", "stack_size": 64, "engine": "eager"}


@pytest.fixture
def own():
    """The default configuration, and the registry as it was afterwards."""
    yield configuration.load(DEFAULT)
    for name in set(registry.STUDIES) - set(registry.BUILT_IN):
        registry.STUDIES.pop(name)


def declare(config: dict, study: str, block: dict, run_models: list[str], **changes: object) -> None:
    config["studies"][study] = {"data": block}
    config["run"] |= {"studies": [study], "models": run_models}
    configuration.complete(config)
    for key, value in {**SMALL, **changes}.items():
        put(config, f"studies.{study}.{key}", value)


class TestHeart:
    @pytest.fixture(scope="class")
    @classmethod
    def run(cls, tmp_path_factory, mirror):
        config = configuration.load(DEFAULT)
        config["run"] |= {"studies": ["heart"], "models": ["conventional", "armed", "mixed_logit"]}
        for key, value in SMALL.items():
            put(config, f"studies.heart.{key}", value)
        folder = tmp_path_factory.mktemp("heart")
        raw = [mirror(f"heart/{file}") for file in HOSPITALS]
        return run(config, "heart", config["run"]["models"], raw, folder), folder

    def test_each_hospital_is_unseen_once(self, run):
        tables, _ = run
        predictions = tables["predictions"]
        assert set(predictions["variant"]) == {"main"} and set(predictions["fold"]) == set(range(8))
        unseen = predictions[predictions["partition"] == "unseen"]
        hospitals = unseen.groupby("fold")["cluster"].agg(lambda c: {*c})
        assert [hospitals[2 * i] == hospitals[2 * i + 1] for i in range(4)] == [True] * 4
        assert set.union(*hospitals) == {"Cleveland", "Hungary", "Switzerland", "VA Long Beach"}
        seen = predictions[predictions["partition"] == "seen"]
        for fold, cluster in hospitals.items():
            assert not cluster & {*seen.loc[seen["fold"] == fold, "cluster"]}

    def test_random_effects_are_of_the_hospitals_trained_on(self, run):
        effects = run[0]["random_effects"]
        assert (effects.groupby(["model", "seed", "fold"])["cluster"].nunique() == 3).all()

    def test_thresholds_are_the_youden_points_of_training_rows(self, run):
        tables, folder = run
        assert set(tables["thresholds"]["chosen_on"]) == {"train"}
        kept = tables["metrics"].query("model == 'conventional' and partition == 'seen' and seed == 0 and fold == 3")
        rows = tables["predictions"].query(
            "model == 'conventional' and partition == 'seen' and seed == 0 and fold == 3"
        )
        at = tables["thresholds"].query("model == 'conventional' and seed == 0 and fold == 3")["threshold"].item()
        own = evaluate(rows["y_true"], rows["mixed"], ["balanced_accuracy"], threshold=at)["balanced_accuracy"]
        assert own == pytest.approx(kept.query("metric == 'balanced_accuracy'")["value"].item(), abs=1e-6)
        # By hand: the model of that fold on all rows that it is not tested on.
        folds = data.read_splits(folder / "splits.parquet", "main@Hungary").select([0])
        fold = folds.folds[1]
        seen = StudyData.load(folder / "data.npz").part("seen", "main@Hungary")
        from armed.data.preparation import Preparation

        fitted = Preparation(("standardise",), "heart").fit(seen, folds)
        training = np.concatenate([fold.train, fold.validation])
        prepared = fitted.apply(seen, {(0, 1): training})
        method = registry.load(registry.model("conventional").method).load(folder / "conventional" / "main@Hungary")
        mixed = method.predict(prepared.data, prepared.rows).mixed
        assert at == pytest.approx(youden_threshold(seen.y[training], mixed))

    def test_intervals_of_four_hospitals_are_over_their_patients(self, run, tmp_path):
        tables, _ = run
        draws = tables["draws"]
        assert {*draws.loc[draws["partition"] == "seen", "metric"]} == {"within_cluster_auroc"}
        assert "auroc" in {*draws.loc[draws["partition"] == "unseen", "metric"]} and draws["draw"].max() == 199
        for table in ("metrics", "cluster_metrics", "importance"):
            results.write(table, tables[table], tmp_path / table)
        results.write("draws", draws, tmp_path / "draws")
        config = configuration.load(DEFAULT)
        out = {name: tmp_path / name for name in ("summary", "comparison", "paired_tests", "claims", "deconfounding")}
        given = {table: tmp_path / table for table in ("metrics", "cluster_metrics", "importance")}
        summarise_all(config, given, DEFAULT.with_name("published_results.csv"), out, [tmp_path / "draws"])
        rows = results.read("summary", out["summary"]).query("ci_method == 'corrected' and metric == 'auroc'")
        assert rows[["ci_low", "ci_high"]].notna().all(axis=None) and (rows["ci_low"] < rows["mean"]).all()


def test_the_authors_protocol_is_trained_on_all_but_the_test_rows_and_stopped_by_them(tmp_path):
    config = configuration.load(DEFAULT)
    config["run"] |= {"studies": ["mci_conversion"], "models": ["conventional"]}
    for key, value in {**SMALL, "data.path": "none.csv", "data.resampled": False, "tuning.models": []}.items():
        put(config, f"studies.mci_conversion.{key}", value)
    write_stand_in(tmp_path / "raw", 0)
    tables = run(config, "mci_conversion", ["conventional"], [tmp_path / "raw" / "ADNIMERGE.csv"], tmp_path)
    metrics = tables["metrics"]
    assert set(metrics["variant"]) == {"main", "reference_protocol"} and set(metrics["source"]) == {"stand-in"}
    predictions = tables["predictions"].query("partition == 'seen'")
    ids = predictions.groupby(["variant", "seed", "fold"])["sample_id"].agg(frozenset).unstack("variant")
    assert (ids["main"] == ids["reference_protocol"]).all()
    history = pd.read_csv(tmp_path / "conventional" / "reference_protocol" / "history.tsv", sep="\t")
    kept = history[history["kept"]].set_index(["seed", "fold"])["validation"]
    scored = metrics.query("variant == 'reference_protocol' and partition == 'seen' and metric == 'auprc'")
    values = scored.set_index(["seed", "fold"])["value"]
    np.testing.assert_allclose(kept.sort_index(), values.sort_index(), atol=1e-6)  # stopped by what is reported


class TestOwn:
    def test_binary_labels_with_several_children_of_a_mother(self, own, mirror, tmp_path):
        path = mirror("multilevel/guImmun.csv")
        block = {"path": str(path), "label": "immun", "positive": "Y", "cluster": "comm", "subject": "mom"}
        declare(own, "vaccines", {**block, "drop": ["rownames", "kid"], "unseen": 30}, ["conventional"])
        tables = run(own, "vaccines", ["conventional"], [path], tmp_path)
        assert set(tables["metrics"]["source"]) == {"own"}
        assert set(tables["metrics"]["partition"]) == {"seen", "unseen"}
        seen = StudyData.load(tmp_path / "data.npz").part("seen")
        for fold in data.read_splits(tmp_path / "splits.parquet", "main"):
            assert not {*seen.subject[fold.train]} & {*seen.subject[fold.test]}

    def test_continuous_labels_are_told_in_their_own_unit(self, own, mirror, tmp_path):
        path = mirror("multilevel/sleepstudy.csv")
        block = {
            "path": str(path),
            "kind": "continuous",
            "label": "Reaction",
            "cluster": "Subject",
            "drop": ["rownames"],
        }
        models = ["conventional", "mixedlm", "mixed_logit"]
        changes = {"training.patience": None, "validation_fraction": 0.0, "settings.mixedlm.slopes": "all"}
        declare(own, "sleep", block, models, **changes)
        assert configuration.selected_models(own, "sleep") == ["conventional", "mixedlm"]
        tables = run(own, "sleep", ["conventional", "mixedlm"], [path], tmp_path)
        metrics = tables["metrics"].query("metric in ('mse', 'r2')").groupby(["model", "metric"])["value"].mean()
        # Reaction times in ms: about 56^2 without any model, 25.6^2 left by the linear mixed model.
        assert 500 < metrics["mixedlm", "mse"] < 1400 and metrics["mixedlm", "r2"] > 0.5
        assert metrics["conventional", "mse"] < 10000
        assert references(own) == {"sleep": "mixedlm"}

    def test_three_classes(self, own, tmp_path):
        rng = np.random.default_rng(0)
        y = np.arange(180) % 3
        frame = pd.DataFrame(
            {"kind": np.array(["low", "mid", "high"])[y], "x": rng.normal(y), "z": rng.normal(size=180)}
        )
        frame.assign(ward=np.arange(180) // 20).to_csv(tmp_path / "wards.csv", index=False)
        block = {
            "path": str(tmp_path / "wards.csv"),
            "kind": "multiclass",
            "label": "kind",
            "cluster": "ward",
            "unseen": 2,
        }
        declare(own, "wards", block, ["conventional", "armed"])
        tables = run(own, "wards", ["conventional", "armed"], [tmp_path / "wards.csv"], tmp_path)
        scored = tables["metrics"].query("metric == 'auroc'")
        assert scored["value"].between(0, 1).all() and set(scored["partition"]) == {
            *("seen", "unseen", "unseen_population")
        }
        assert {"mixed_0", "mixed_2"} <= {*results.read("predictions", tmp_path / "armed_predictions")}
