"""The job that looks where networks look, with a tiny network whose maps are known."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from armed import registry, results
from armed.data.clustered import ClusteredData
from armed.data.splits import Fold, Splits
from armed.errors import ConfigError, LayerNotFoundError
from armed.jobs import saliency as job
from armed.layers.random_effects import RandomIntercept, RandomSlopes
from armed.models import MixedEffects
from armed.stack import Stack
from armed.stack_method import StackMethod
from armed.statistics import summarise

STUDY, MODEL = "tiny_images", "tiny_model"
SITES = ("a", "b", "c")
SLOPES = {"a": (0.0, 0.0), "b": (-2.0, 0.0), "c": (0.0, 1.0)}  # on the two pooled channels
SIZE = (6, 8)
FOLDS = Splits(
    (
        Fold(1, 0, np.arange(0, 14), np.arange(14, 18), np.arange(18, 36)),
        Fold(1, 1, np.arange(18, 32), np.arange(32, 36), np.arange(0, 18)),
    )
)


class TinyCNN(nn.Module):
    """Channel 0: how much brighter a pixel is than 0.5, and the fixed effects' only one; channel 1: the image itself."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.output = nn.Linear(2, 1)
        with torch.no_grad():
            self.hidden[0].weight.fill_(1.0)
            self.hidden[0].bias.copy_(torch.tensor([-0.5, 0.0]))
            self.output.weight.copy_(torch.tensor([[1.0, 0.0]]))

    def forward(self, X):
        return self.output(self.hidden(X))


class TinyMethod(StackMethod):
    uses_clusters = True

    def build(self, n_features, n_clusters, n_outputs):
        effects = [RandomSlopes(on="hidden.3"), RandomIntercept()]
        model = MixedEffects(TinyCNN(), n_clusters, effects, input_shape=(1, *SIZE))
        with torch.no_grad():
            model.effects[0].loc.copy_(torch.tensor([SLOPES[c] for c in SITES]).unsqueeze(-1))
        return model


class Guess:
    """A Z-predictor that takes every sample for one of site b, where maps are empty."""

    @classmethod
    def load(cls, folder):
        return cls()

    def infer(self, data, rows, levels):
        return {key: np.tile(np.float32(levels == "b"), (len(r), 1)) for key, r in rows.items()}


def part(n: int, sites: tuple[str, ...], prefix: str) -> tuple[ClusteredData, np.ndarray]:
    """Brains of brightness 51 with a border of 0; class 1 has 255 in its region, two pixels."""
    i = np.arange(n)
    y, X, regions = i // len(sites) % 2, np.zeros((n, 1, *SIZE), np.uint8), np.zeros((n, *SIZE), bool)
    X[:, 0, 1:-1, 1:-1] = 51
    regions[i, 2, 3 + i % 2] = regions[i, 3, 3] = True
    X[:, 0][regions & (y == 1)[:, None, None]] = 255
    ids = np.array([f"{prefix}{k:03d}" for k in i[::-1]])
    subject = np.array([s[:-1] for s in ids])  # ten samples each
    return ClusteredData(X, y, np.array(sites)[i % len(sites)], sample_id=ids, subject=subject), regions


@pytest.fixture
def study(monkeypatch, tmp_path):
    """Data, folds and fits as other jobs leave them."""
    entry = registry.Study(STUDY, "Tiny", "stand-in", "", ("seen", "unseen"), ("auroc",), raw="volumes")
    monkeypatch.setitem(registry.STUDIES, STUDY, entry)
    model = registry.Model(MODEL, "Tiny", f"{__name__}:TinyMethod", (STUDY,), infers_clusters=True)
    monkeypatch.setitem(registry.MODELS, MODEL, model)
    monkeypatch.setattr("armed.jobs.fitted.CLUSTER_INFERENCE", f"{__name__}:Guess")
    (seen, of_seen), (unseen, of_unseen) = part(36, SITES, "s"), part(8, ("x", "y"), "u")
    truth = {"variant": "main", "part": "seen", "cluster": SITES[:2], "scanner": ["GE 1", "Philips"]}
    data = SimpleNamespace(
        parts={"main": {"seen": seen, "unseen": unseen}},
        regions={"main": {"seen": of_seen, "unseen": of_unseen}},
        truth=pd.DataFrame(truth),
    )
    monkeypatch.setattr(job.StudyData, "load", lambda path: data)
    FOLDS.to_frame().assign(variant="main").to_parquet(tmp_path / "splits.parquet")
    method = TinyMethod(study=STUDY)
    method._begin(seen, FOLDS, None)
    method.stack_ = Stack.build(method._factory(), range(len(method.replicas_)))
    method.history_ = pd.DataFrame({"epoch": [0]})
    method.save(tmp_path / "run" / "main")
    return data


def run(tmp_path, *, inference: bool = True, layer: str = "hidden.1", score: str = "grad_cam"):
    settings = {"study": STUDY, "model": MODEL, "variants": {"main": {}}}
    out = {name: tmp_path / f"{name}.out" for name in ("metrics", "cluster_metrics", "maps")}
    given = tmp_path / "inference" if inference else None
    paths = (tmp_path / "data.npz", tmp_path / "splits.parquet", tmp_path / "run", given)
    job.saliency(settings, "stand-in", *paths, out, maps=score, layer=layer, subjects=1)
    tables = {name: results.read(name, out[name]) for name in ("metrics", "cluster_metrics")}
    with np.load(out["maps"], allow_pickle=False) as file:
        return tables, dict(file)


def at_site_c(n_region: int = 2, n_brain: int = 24) -> float:
    """Share inside the region of max(X - 0.5, 0) + X."""
    inside, outside = n_region * (0.5 + 1.0), (n_brain - n_region) * 0.2
    return inside / (inside + outside)


class TestScores:
    def test_seen_with_known_clusters(self, study, tmp_path):
        tables, _ = run(tmp_path)
        by_site = tables["cluster_metrics"].query("partition == 'seen' and fold == 0").set_index("cluster")
        assert by_site.loc["a", "value"] == pytest.approx(1.0) and by_site.loc["c", "value"] == pytest.approx(
            at_site_c(), abs=1e-6
        )
        assert np.isnan(by_site.loc["b", "value"]) and "no sample" in by_site.loc["b", "note"]
        row = tables["metrics"].query("partition == 'seen' and fold == 0").iloc[0]
        assert row["value"] == pytest.approx((1 + at_site_c()) / 2, abs=1e-6) and row["n"] == 6
        assert row["note"] == "chance 0.0833; Grad-CAM; 3 of 9 samples have no map or no region"
        assert set(tables["metrics"]["fold"]) == {0, 1} and set(tables["metrics"]["model"]) == {MODEL}

    def test_unseen_by_inferred_z_and_for_the_population(self, study, tmp_path):
        metrics = run(tmp_path)[0]["metrics"].query("fold == 0").set_index("partition")
        assert np.isnan(metrics.loc["unseen", "value"]) and metrics.loc["unseen", "n"] == 0
        assert metrics.loc["unseen_population", "value"] == pytest.approx(1.0)
        assert metrics.loc["unseen_population", "n"] == 4

    def test_unseen_without_inference_is_the_population(self, study, tmp_path):
        metrics = run(tmp_path, inference=False)[0]["metrics"]
        assert set(metrics["partition"]) == {"seen", "unseen"}
        assert metrics.query("partition == 'unseen'")["value"].tolist() == pytest.approx([1.0, 1.0])

    def test_intervals_of_unseen_clusters_are_over_clusters(self, study, tmp_path):
        tables, _ = run(tmp_path)
        summary = summarise(tables["metrics"], tables["cluster_metrics"])
        row = summary.query("partition == 'unseen_population' and ci_method == 'corrected'").iloc[0]
        assert row["mean"] == pytest.approx(1.0) and row["ci_low"] == row["ci_high"] == pytest.approx(1.0)
        undefined = summary.query("partition == 'unseen' and ci_method == 'corrected'").iloc[0]
        assert undefined[["mean", "ci_low", "ci_high"]].isna().all()

    def test_without_regions_there_are_maps_but_no_scores(self, study, tmp_path):
        study.regions = {}
        tables, maps = run(tmp_path)
        assert not len(tables["metrics"]) and not len(tables["cluster_metrics"]) and "region" not in maps
        assert maps["mixed"].shape == (2, 3, *SIZE)

    def test_which_maps_are_scored(self, study, tmp_path):
        """Of a network that pools over positions both are the same."""
        one, other = (run(tmp_path, score=score)[0]["metrics"] for score in ("grad_cam", "hires_cam"))
        np.testing.assert_allclose(one["value"], other["value"], rtol=1e-5)
        assert other["note"].str.contains("HiResCAM").sum() == other["value"].notna().sum()
        with pytest.raises(ConfigError, match=r"Did you mean 'hires_cam'"):
            run(tmp_path, score="hirescam")

    def test_a_wrong_layer_is_named(self, study, tmp_path):
        with pytest.raises(LayerNotFoundError, match=r"hidden.7"):
            run(tmp_path, layer="hidden.7")


class TestMaps:
    def test_first_test_subject_of_each_label(self, study, tmp_path):
        maps = run(tmp_path)[1]
        seen = study.parts["main"]["seen"]
        assert maps["label"].tolist() == [1, 0]
        test = FOLDS.folds[0].test
        for name, label in zip(maps["sample_id"], maps["label"], strict=True):
            row = int(np.flatnonzero(seen.sample_id == name)[0])
            assert row in test and seen.y[row] == label
        assert np.array_equal(maps["image"][0], seen.X[seen.sample_id == maps["sample_id"][0]][0, 0])

    def test_each_subject_once_in_order(self, study):
        seen = study.parts["main"]["seen"]
        rows = job.first_of_each_label(seen, np.arange(36), 9)
        assert len(set(seen.subject[rows])) == len(rows) == 4
        of_one = [list(seen.sample_id[r] for r in rows if seen.y[r] == label) for label in (0, 1)]
        assert of_one == [sorted(ids) for ids in of_one] and all(of_one)

    def test_maps_under_every_sites_effects(self, study, tmp_path):
        maps = run(tmp_path)[1]
        assert maps["sites"].tolist() == list(SITES) and maps["scanner"].tolist() == ["GE 1", "Philips", ""]
        assert np.allclose(maps["mixed"][0, 0], maps["fixed"][0])
        assert not maps["mixed"][0, 1].any() and maps["fixed"][0][maps["region"][0]].sum() == pytest.approx(1.0)
        assert maps["mixed"][0, 2][maps["region"][0]].sum() == pytest.approx(at_site_c(), abs=1e-6)
