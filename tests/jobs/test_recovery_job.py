"""The recovery study and the univariate fits as jobs, at tiny size."""

from __future__ import annotations

import numpy as np
import pytest
from config_edits import DEFAULT, put

from armed import config as configuration
from armed import results
from armed.data.adni_truth import tables
from armed.data.adni_visits import visit_table, write_stand_in
from armed.data.mci import from_tables, from_visits, make
from armed.data.study import StudyData
from armed.jobs.recovery import recovery, univariate_fits

STUDY = "mci_conversion"
METRICS = {"slope_recovery", "slope_ratio", "intercept_recovery"}


@pytest.fixture(scope="module")
def settings() -> dict:
    config = configuration.load([DEFAULT])
    put(config, f"studies.{STUDY}.training.epochs", 2)
    return {
        "datasets": 2,
        "subjects": [0.25, 0.5],
        "n_seen": 20,
        "validation_fraction": 0.1,
        "models": {m: configuration.settings(config, STUDY, m) for m in ("armed", "armed_no_adversary")},
    }


@pytest.fixture(scope="module")
def table(settings, tmp_path_factory):
    out = tmp_path_factory.mktemp("recovery") / "sensitivity.tsv"
    recovery(settings, out, device="cpu", stack_size=8, engine="eager")
    return results.read("sensitivity", out)


def test_every_model_size_and_dataset_is_scored(table):
    assert len(table) == 2 * 2 * 3 * 3
    assert set(table["level"]) == {"0.25", "0.5"} and set(table["factor"]) == {"subjects"}
    assert set(table["model"]) == {"oracle", "armed", "armed_no_adversary"} and set(table["metric"]) == METRICS
    assert set(table["seed"]) == {0, 1} and set(table["fold"]) == {-1} and set(table["source"]) == {"stand-in"}
    assert np.isfinite(table["value"]).all()
    n = table.groupby("metric")["n"].unique().map(list).to_dict()
    assert n == {"slope_recovery": [26], "slope_ratio": [26], "intercept_recovery": [20]}


@pytest.mark.slow
def test_a_dataset_does_not_depend_on_the_others(table, settings, tmp_path):
    out = tmp_path / "one.tsv"
    recovery({**settings, "datasets": 1, "subjects": [0.5]}, out, device="cpu", stack_size=8, engine="eager")
    keys = ["model", "metric"]
    alone = results.read("sensitivity", out).set_index(keys)["value"].sort_index()
    among = table.query("level == '0.5' and seed == 0").set_index(keys)["value"].sort_index()
    np.testing.assert_allclose(alone, among, rtol=1e-4)


def test_univariate_fits_of_a_stand_in(tmp_path):
    write_stand_in(tmp_path / "raw", 0)
    data = make({"n_seen": 20}, STUDY, [0], [tmp_path / "raw" / "ADNIMERGE.csv"])
    data.save(tmp_path / "data.npz")
    univariate_fits(STUDY, "stand-in", tmp_path / "data.npz", tmp_path / "univariate.tsv")
    found = results.read("univariate", tmp_path / "univariate.tsv").set_index("feature")
    assert list(found.index) == list(data.part("seen").feature_names)
    assert found["kind"].value_counts().to_dict() == {"continuous": 26, "categorical": 11}
    continuous = found[found["kind"] == "continuous"]
    assert np.isfinite(continuous[["coefficient", "coefficient_sd", "slope_sd", "true_slope_sd"]]).all(axis=None)
    assert continuous["relative_risk_sd"].isna().all() and set(found["predictive"]) == {0, 1}
    assert np.corrcoef(continuous["coefficient"], continuous["true_coefficient"])[0, 1] > 0.9
    truth = StudyData.load(tmp_path / "data.npz").feature_truth.set_index("feature")
    assert found.loc["MMSE", "true_slope_sd"] == pytest.approx(truth.loc["MMSE", "slope_sd"])


def test_several_tables_are_as_each_alone():
    drawn = {dataset: visit_table(dataset, scale=0.25) for dataset in (0, 1)}
    seen, _ = from_tables(((dataset, visits) for dataset, (visits, _) in drawn.items()), 20)
    alone, _, _ = from_visits(drawn[1][0], 20)
    own = seen.take(seen.rows_of(1))
    names = [seen.feature_names.index(name) for name in alone.feature_names]
    np.testing.assert_array_equal(own.X[:, names], alone.X)
    assert own.clusters.tolist() == alone.clusters.tolist() and own.y.tolist() == alone.y.tolist()
    _, sites = tables(drawn[1][1], 1)
    assert set(alone.levels) <= set(sites["cluster"]) and set(sites["dataset"]) == {1}
