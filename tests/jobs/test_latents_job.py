"""The job that looks into autoencoders, with a made-up one whose errors and latents are known, and with ARMED's own."""

from __future__ import annotations

from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest

from armed import methods, registry, results
from armed.data.clustered import ClusteredData
from armed.data.image_statistics import NAMES, statistics
from armed.data.splits import Fold, Splits
from armed.jobs import latents as job
from armed.stack import Stack
from armed.stack_method import Reconstructed
from armed.statistics import Settings, summarise

STUDY, MODEL = "tiny_cells", "tiny_model"
SIZE = 12
DATES, NEW_DATES = ("20200101", "20200102", "20200103"), ("20210101", "20210102")
OFFSET = dict(zip((*DATES, *NEW_DATES), (20, 40, 60, 40, 80), strict=True))  # brightness of a date, in bytes
SEEDS, CELLS, FRAMES = (0, 1), 4, 3
SHARES = ("variance_cluster", "variance_group", "variance_phenotype")


def part(dates, n_groups):
    """Cells of two groups on each seen date (the first high, the second low), or of one on each unseen date."""
    rows = []
    for d, date in enumerate(dates):
        for g in range(n_groups):
            group = f"pdx{(d + g) % 4}"
            for c in range(CELLS):
                rows += [(date, group, f"{group}/{date}/{c}", (d + g) % 2, f) for f in range(FRAMES)]
    table = pd.DataFrame(rows, columns=["cluster", "group", "subject", "label", "frame"])
    rng = np.random.default_rng(len(table))
    cells = table["subject"].factorize()[0]
    X = np.full((len(table), 1, SIZE, SIZE), 60, np.uint8) + rng.integers(0, 20, (len(table), 1, SIZE, SIZE)).astype(
        np.uint8
    )
    X += table["cluster"].map(OFFSET).to_numpy(np.uint8)[:, None, None, None]
    ids = np.array([f"{'s' if n_groups > 1 else 'u'}{k:04d}" for k in rng.permutation(len(table))])
    data = ClusteredData(
        X, table["label"].to_numpy(), table["cluster"].to_numpy(str), ids, table["subject"].to_numpy(str)
    )
    samples = table[["group", "frame"]].assign(phenotype=rng.normal(size=cells.max() + 1)[cells])
    return data, samples


def folds(data):
    """Half of the cells of each date and group test; two seeds."""
    cell = np.array([int(s.rsplit("/", 1)[1]) for s in data.subject])
    rows = [(np.flatnonzero(cell % 2 != s), np.flatnonzero(cell % 2 == s)) for s in SEEDS]
    return Splits(
        tuple(Fold(s, 0, train[FRAMES:], train[:FRAMES], test) for s, (train, test) in zip(SEEDS, rows, strict=True))
    )


class Fake:
    """Its fixed image lacks the date's brightness, the mixed one has that of the membership; latents are the date and noise."""

    uses_clusters = True
    largest = 0
    notes_: ClassVar = {(1, 0): "stopped early"}
    replicas_: ClassVar = [(s, 0) for s in SEEDS]
    levels_ = np.array(DATES)

    @classmethod
    def load(cls, folder):
        return cls()

    def reconstruct(self, data, rows, *, new_clusters="error", cluster_inference=None):
        codes = data.codes(self.levels_)
        if new_clusters == "infer":
            Z = cluster_inference.infer(data, rows, self.levels_)
        found = {}
        for key, own in rows.items():
            assert new_clusters != "error" or (codes[own] >= 0).all()
            found[key] = self.reconstruct_as(data, key, own, Z[key] if new_clusters == "infer" else codes[own])
        return found

    def latents(self, data, rows):
        return {key: self.reconstruct_as(data, key, own, np.full(len(own), -1)).latent for key, own in rows.items()}

    def reconstruct_as(self, data, key, rows, clusters):
        Fake.largest = max(Fake.largest, len(rows))
        image = data.X[rows].astype(np.float32) / 255
        offset = np.array([OFFSET[c] for c in data.clusters[rows]], np.float32)[:, None, None, None] / 255
        Z = clusters if clusters.ndim == 2 else np.eye(len(DATES) + 1)[clusters, :-1]
        fixed = image - offset
        under = Z @ [OFFSET[c] for c in DATES] if self.uses_clusters else 0 * rows
        date = np.array([OFFSET[c] for c in data.clusters[rows]])
        noise = [np.random.default_rng([key[0], int(i[1:])]).normal(size=5) for i in data.sample_id[rows]]
        latent = np.array(noise) + np.outer(date, [1, 0, 0, 0, 0])
        return Reconstructed(
            latent.astype(np.float32), fixed, fixed + under.astype(np.float32)[:, None, None, None] / 255
        )


class Plain(Fake):
    """Without random effects."""

    uses_clusters = False


class Guess:
    """A Z-predictor that takes every image for one of the second date."""

    @classmethod
    def load(cls, folder):
        return cls()

    def infer(self, data, rows, levels):
        return {key: np.tile(np.float32(levels == DATES[1]), (len(r), 1)) for key, r in rows.items()}


@pytest.fixture
def study(monkeypatch, tmp_path):
    """Data and folds as other jobs leave them; the fits are `Fake`'s."""
    entry = registry.Study(STUDY, "Tiny", "stand-in", "", ("seen", "unseen"), ("auroc",), raw="movies")
    monkeypatch.setitem(registry.STUDIES, STUDY, entry)
    (seen, of_seen), (unseen, of_unseen) = part(DATES, 2), part(NEW_DATES, 1)
    data = SimpleNamespace(
        parts={"main": {"seen": seen, "unseen": unseen}}, samples={"main": {"seen": of_seen, "unseen": of_unseen}}
    )
    monkeypatch.setattr(job.StudyData, "load", lambda path: data)
    monkeypatch.setattr("armed.jobs.fitted.CLUSTER_INFERENCE", f"{__name__}:Guess")
    folds(seen).to_frame().assign(variant="main").to_parquet(tmp_path / "splits.parquet")
    use(monkeypatch, "Fake")
    return data


def use(monkeypatch, method, **changed):
    model = registry.Model(MODEL, "Tiny", f"{__name__}:{method}", (STUDY,), **{"infers_clusters": True} | changed)
    monkeypatch.setitem(registry.MODELS, MODEL, model)


def run(tmp_path, *, inference=True, shown=3, tables=job.TABLES):
    settings = {"study": STUDY, "model": MODEL, "variants": {"main": {}}}
    out = {name: tmp_path / f"{name}.out" for name in (*tables, "latents")}
    given = tmp_path / "inference" if inference else None
    paths = (tmp_path / "data.npz", tmp_path / "splits.parquet", tmp_path / "run", given)
    job.latents(settings, "stand-in", *paths, out, shown=shown, draws=200)
    with np.load(out["latents"], allow_pickle=False) as file:
        return {name: results.read(name, out[name]) for name in tables}, dict(file)


def value(table, partition, metric, seed=0):
    found = table[(table["partition"] == partition) & (table["metric"] == metric) & (table["seed"] == seed)]
    assert len(found) == 1
    return found.iloc[0]


def squares(*differences):
    return np.mean([(d / 255) ** 2 for d in differences])


class TestErrors:
    def test_of_each_partition(self, study, tmp_path):
        """Mixed with the known date: none. Without: the date's brightness. Inferred as the second date: what it is off by."""
        table = run(tmp_path)[0]["metrics"]
        assert value(table, "seen", "mse").value == pytest.approx(0, abs=1e-12)
        assert value(table, "seen_population", "mse").value == pytest.approx(squares(20, 40, 60), rel=1e-5)
        assert value(table, "unseen", "mse").value == pytest.approx(squares(0, 40), rel=1e-5)
        assert value(table, "unseen_population", "mse").value == pytest.approx(squares(40, 80), rel=1e-5)

    def test_they_are_of_the_test_rows(self, study, tmp_path):
        table = run(tmp_path)[0]["metrics"]
        assert value(table, "seen", "mse").n == len(DATES) * 2 * CELLS / 2 * FRAMES
        assert value(table, "unseen", "mse").n == len(NEW_DATES) * CELLS * FRAMES

    def test_of_each_cluster(self, study, tmp_path):
        table = run(tmp_path)[0]["cluster_metrics"]
        own = table[(table["partition"] == "unseen_population") & (table["seed"] == 1)].set_index("cluster")
        assert own["value"].to_dict() == pytest.approx({NEW_DATES[0]: squares(40), NEW_DATES[1]: squares(80)}, rel=1e-5)
        assert set(table["metric"]) == {"mse"} and (own["n"] == CELLS * FRAMES).all()

    def test_without_random_effects_there_is_no_population(self, study, tmp_path, monkeypatch):
        use(monkeypatch, "Plain", infers_clusters=False)
        tables, kept = run(tmp_path, inference=False)
        assert set(tables["metrics"]["partition"]) == {"seen", "unseen", "latents", "latents_unseen"}
        assert (kept["error_fixed"] == kept["error_mixed"]).all() and "shown_under" not in kept

    def test_other_memberships_of_anothers_weights_have_none_either(self, study, tmp_path, monkeypatch):
        use(monkeypatch, "Fake", weights_from="armed")
        tables, kept = run(tmp_path)
        assert "seen_population" not in set(tables["metrics"]["partition"]) and "shown_under" not in kept

    def test_notes_of_a_fit_are_told(self, study, tmp_path):
        table = run(tmp_path)[0]["metrics"]
        assert (table.loc[table["seed"] == 1, "note"].str.endswith("stopped early")).all()
        assert not table.loc[table["seed"] == 0, "note"].str.contains("stopped").any()

    def test_few_images_at_a_time(self, study, tmp_path, monkeypatch):
        whole, kept = run(tmp_path)
        monkeypatch.setattr(job, "ROWS_AT_ONCE", 5)
        Fake.largest = 0
        parts, kept_in_parts = run(tmp_path)
        assert Fake.largest == 5
        pd.testing.assert_frame_equal(parts["metrics"], whole["metrics"])
        assert all((kept[name] == kept_in_parts[name]).all() for name in kept)

    def test_a_network_that_diverged(self, study, tmp_path, monkeypatch):
        made = Fake.reconstruct_as
        broken = lambda *given: Reconstructed(*(np.nan * array for array in made(*given)))  # noqa: E731
        monkeypatch.setattr(Fake, "reconstruct_as", broken)
        table = run(tmp_path)[0]["metrics"]
        assert table["value"].isna().all() and table["note"].str.contains("not finite").all()


class TestReadings:
    def test_all_are_there_for_both_parts(self, study, tmp_path):
        table = run(tmp_path)[0]["metrics"]
        names = {"davies_bouldin", "calinski_harabasz", "cluster_probe_accuracy", *SHARES}
        for partition in ("latents", "latents_unseen"):
            own = table[table["partition"] == partition]
            assert set(own["metric"]) == names and len(own) == len(names) * len(SEEDS)

    def test_latents_that_hold_the_date(self, study, tmp_path):
        table = run(tmp_path)[0]["metrics"]
        probe = value(table, "latents", "cluster_probe_accuracy")
        assert probe.value > 0.8 and probe.note == "chance 0.333; 0.667 by the group alone; 3 clusters"
        assert value(table, "latents", "davies_bouldin").note == "3 clusters"
        cluster = value(table, "latents", "variance_cluster")
        assert cluster.n == 12 and cluster.note.endswith("phenotype: true phenotype")

    def test_unseen_dates_have_one_group_each(self, study, tmp_path):
        group = value(run(tmp_path)[0]["metrics"], "latents_unseen", "variance_group")
        assert np.isnan(group.value) and "determine it" in group.note

    def test_the_label_stands_in_for_a_phenotype_that_is_not_known(self, study, tmp_path):
        study.samples["main"] = {name: table[["group"]] for name, table in study.samples["main"].items()}
        tables, kept = run(tmp_path)
        assert "phenotype: label" in value(tables["metrics"], "latents", "variance_phenotype").note
        assert "phenotype" not in kept

    def test_groups_that_are_not_known(self, study, tmp_path):
        study.samples["main"] = {}
        tables, kept = run(tmp_path)
        assert np.isnan(value(tables["metrics"], "latents", "variance_group").value)
        assert set(kept["group"]) == {""} and np.isfinite(value(tables["metrics"], "latents", "davies_bouldin").value)


class TestIntervals:
    SETTINGS = Settings(test_to_train={STUDY: 0.25}, random_splits={STUDY}, bootstrap=200)

    def summary(self, tables):
        table = summarise(tables["metrics"], tables["cluster_metrics"], self.SETTINGS, tables["draws"])
        return table[table["ci_method"] == "corrected"].set_index(["partition", "metric"])

    def test_errors_on_few_unseen_dates_are_drawn_by_cell(self, study, tmp_path):
        tables = run(tmp_path)[0]
        assert set(tables["draws"]["partition"]) == {"unseen", "unseen_population"}
        found = self.summary(tables)
        for partition in ("seen", "seen_population", "unseen", "unseen_population"):
            row = found.loc[(partition, "mse")]
            assert row["ci_low"] <= row["mean"] <= row["ci_high"] and row["n_seeds"] == 2

    def test_errors_on_many_unseen_dates_are_drawn_by_date(self, study, tmp_path):
        tables = run(tmp_path, tables=("metrics", "cluster_metrics"))[0]
        row = self.summary(tables | {"draws": None}).loc[("unseen_population", "mse")]
        assert row["ci_low"] == pytest.approx(squares(40), rel=1e-4) and row["ci_high"] == pytest.approx(
            squares(80), rel=1e-4
        )

    def test_readings_of_unseen_latents_have_an_interval_over_splits(self, study, tmp_path):
        found = self.summary(run(tmp_path)[0])
        for partition in ("latents", "latents_unseen"):
            for metric in ("davies_bouldin", "cluster_probe_accuracy", "variance_phenotype"):
                row = found.loc[(partition, metric)]
                assert row["ci_low"] <= row["mean"] <= row["ci_high"]


class TestKept:
    def test_one_entry_for_each_fit_and_sample(self, study, tmp_path):
        _, kept = run(tmp_path)
        n = len(SEEDS) * (36 + 24)
        assert kept["latent"].shape == (n, 5) and kept["latent"].dtype == np.float32
        for name in ("seed", "fold", "partition", "sample_id", "subject", "cluster", "group", "label", "phenotype"):
            assert kept[name].shape == (n,)
        assert pd.DataFrame({k: kept[k] for k in ("seed", "fold", "sample_id")}).duplicated().sum() == 0
        assert set(zip(kept["partition"], kept["sample_id"].astype("U1"), strict=True)) == {
            ("seen", "s"),
            ("unseen", "u"),
        }

    def test_entries_belong_to_their_samples(self, study, tmp_path):
        _, kept = run(tmp_path)
        seen = study.parts["main"]["seen"]
        row = {sample: i for i, sample in enumerate(seen.sample_id)}
        own = kept["partition"] == "seen"
        rows = np.array([row[sample] for sample in kept["sample_id"][own]])
        assert (kept["cluster"][own] == seen.clusters[rows]).all() and (kept["label"][own] == seen.y[rows]).all()
        assert (kept["group"][own] == study.samples["main"]["seen"]["group"].to_numpy(str)[rows]).all()
        assert kept["statistic_names"].tolist() == list(NAMES)
        expected = statistics(seen.X[rows, 0].astype(np.float32) / 255)
        np.testing.assert_allclose(kept["statistics_original"][own], expected, rtol=1e-4, atol=1e-6)
        darker = (kept["statistics_original"] - kept["statistics_fixed"])[own, 0]
        np.testing.assert_allclose(darker, [OFFSET[c] / 255 for c in kept["cluster"][own]], rtol=1e-4)

    def test_images_to_show(self, study, tmp_path):
        _, kept = run(tmp_path)
        assert kept["shown_image"].shape == (3, SIZE, SIZE) and kept["shown_image"].dtype == np.uint8
        assert (kept["shown_mixed"] == kept["shown_image"]).all()
        darker = np.array([OFFSET[c] for c in kept["shown_cluster"]])[:, None, None]
        assert (kept["shown_image"] - kept["shown_fixed"] == darker).all()
        assert kept["levels"].tolist() == list(DATES) and kept["shown_under"].shape == (3, 3, SIZE, SIZE)
        brighter = kept["shown_under"].astype(int) - kept["shown_fixed"][:, None]
        assert (brighter == np.array([20, 40, 60])[None, :, None, None]).all()

    def test_they_are_of_different_groups_and_dates(self, study, tmp_path):
        _, kept = run(tmp_path)
        assert len(set(kept["shown_group"])) == len(set(kept["shown_cluster"])) == 3
        _, more = run(tmp_path, shown=7)
        assert len(set(more["shown_group"])) == 4 and list(more["shown_group"]) == sorted(more["shown_group"])
        seen = study.parts["main"]["seen"]
        subject = dict(zip(seen.sample_id, seen.subject, strict=True))
        assert len({subject[i] for i in more["shown_id"]}) == 7

    def test_fewer_cells_than_asked_for(self, study, tmp_path):
        _, kept = run(tmp_path, shown=1000)
        assert len(kept["shown_id"]) == 12  # test cells of the first seed

    def test_nothing_shown(self, study, tmp_path):
        seen = study.parts["main"]["seen"]
        assert len(job.choose(seen, np.full(len(seen), "g"), np.arange(len(seen)), 0)) == 0


class TestArmed:
    """ARMED's own autoencoder, not trained: shapes and memberships are those the job takes them for."""

    NETWORK: ClassVar = {"filters": [4, 6], "strided": 1, "latent": 3, "classifier": 5}

    @pytest.fixture
    def fitted(self, study, tmp_path, monkeypatch):
        monkeypatch.setattr("armed.jobs.fitted.CLUSTER_INFERENCE", f"{__name__}:Guess")
        seen = study.parts["main"]["seen"]
        method = methods.ARMED(
            study=STUDY, network=self.NETWORK, slopes="classifier.hidden", scale_bias=True, adversary_units=None
        )
        method._begin(seen, folds(seen), None)
        method.stack_ = Stack.build(method._factory(), range(len(method.replicas_)))
        method.history_ = pd.DataFrame({"epoch": [0]})
        method.save(tmp_path / "run" / "main")

    @pytest.mark.parametrize(("name", "weights_from"), [("ARMED", None), ("RandomizedZ", "armed")])
    def test_the_job_takes_it(self, fitted, study, tmp_path, monkeypatch, name, weights_from):
        model = registry.Model(
            MODEL, "Tiny", f"armed.methods:{name}", (STUDY,), infers_clusters=True, weights_from=weights_from
        )
        monkeypatch.setitem(registry.MODELS, MODEL, model)
        tables, kept = run(tmp_path)
        errors = tables["metrics"].query("metric == 'mse'")
        assert errors["value"].between(0, 1).all() and len(errors) == (8 if weights_from is None else 4)
        assert kept["latent"].shape[1] == 3 and np.isfinite(kept["latent"]).all()
        assert ("shown_under" in kept) == (weights_from is None)
        if weights_from is None:
            own = [DATES.index(cluster) for cluster in kept["shown_cluster"]]
            assert (kept["shown_under"][np.arange(3), own] == kept["shown_mixed"]).all()
            assert (kept["error_fixed"] != kept["error_mixed"]).any()
