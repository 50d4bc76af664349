"""What is read off latents, on made-up ones of which it is known whose variance they hold."""

from __future__ import annotations

import numpy as np
import pytest
from metric_rows import NO_CLUSTERS, rows
from sklearn.metrics import calinski_harabasz_score, davies_bouldin_score

from armed import latents
from armed.statistics import Settings, corrected_t, summarise

DIMENSIONS = 24
SHARES = ("variance_cluster", "variance_group", "variance_phenotype")


class Cells:
    """Cells of groups on dates, and the effects that their frames' latents are made of.

    Every group is on every date where `crossed`; else each date has two of the six groups, so that one tells of the other.
    """

    def __init__(self, seed=0, *, crossed=True, cells=12, frames=3, n_dates=8, n_groups=6):
        self.rng = np.random.default_rng(seed)
        pairs = [(d, g) for d in range(n_dates) for g in range(n_groups) if crossed or g % 3 == d % 3]
        date, group = np.repeat(pairs, cells, axis=0).T
        self.n = len(date)
        self.frames = np.repeat(np.arange(self.n), frames)
        self.date, self.group, self.subject = (
            self._named(k, v) for k, v in zip("dgc", (date, group, range(self.n)), strict=True)
        )
        self.label = (group[self.frames] < n_groups / 2).astype(int)
        self.phenotype = self.rng.normal(size=self.n)[self.frames]

    def _named(self, letter, values):
        return np.char.add(letter, np.asarray(values).astype(str))[self.frames]

    def effect_of(self, names):
        """A vector of its own for each name: (frames, dimensions)."""
        levels, code = np.unique(names, return_inverse=True)
        return self.rng.normal(size=(len(levels), DIMENSIONS))[code]

    def noise(self, size=1.0):
        return size * self.rng.normal(size=(len(self.frames), DIMENSIONS))

    def shares(self, latent, phenotype=None):
        given = self.phenotype if phenotype is None else phenotype
        return latents.variance_partition(latent, self.date, self.group, given, self.subject)


def numbers(note):
    """Shared and remaining share."""
    return [float(part.split()[1]) for part in note.split("; ")[:2]]


class TestVariancePartition:
    def test_shares_of_a_known_composition_are_found_again(self):
        cells = Cells(cells=20, frames=2)
        effects = [
            cells.effect_of(cells.date),
            cells.effect_of(cells.group),
            np.outer(cells.phenotype, np.ones(DIMENSIONS)),
        ]
        effects += [cells.effect_of(cells.subject)]
        latent = sum(effects)
        true = [np.mean(effect.var(0) / latent.var(0)) for effect in effects]
        found = cells.shares(7 + 3 * latent)
        assert [found[name].value for name in SHARES] == pytest.approx(true[:3], abs=0.02)
        assert numbers(found[SHARES[0]].note) == pytest.approx([0, true[3]], abs=0.02)
        assert found[SHARES[0]].n == cells.n

    def test_the_parts_sum_to_one(self):
        cells = Cells(crossed=False)
        found = cells.shares(cells.effect_of(cells.date) + cells.effect_of(cells.group) + cells.noise())
        shared, rest = numbers(found[SHARES[0]].note)
        assert sum(found[name].value for name in SHARES) + shared + rest == pytest.approx(1, abs=2e-3)

    def test_what_a_group_brings_with_it_does_not_count_as_its_date(self):
        """Each date has two groups only: the date alone explains a third and more of latents that know nothing of dates."""
        cells = Cells(crossed=False)
        latent = cells.effect_of(cells.group) + cells.noise(0.3)
        found = cells.shares(latent)
        assert abs(found["variance_cluster"].value) < 0.01 and found["variance_group"].value > 0.3
        assert numbers(found[SHARES[0]].note)[0] > 0.3

    def test_shares_of_nothing_are_zero_on_average(self):
        """With few cells a plain R^2 of dates would be a third."""
        drawn = []
        for seed in range(150):
            cells = Cells(seed, cells=1, frames=2, n_dates=7, n_groups=3)
            drawn.append([cells.shares(cells.noise())[name].value for name in SHARES])
        assert np.abs(np.mean(drawn, axis=0)).max() < 0.02 < np.std(drawn, axis=0).max()

    def test_frames_do_not_count_as_cells(self):
        """Cells that differ, drawn by chance over dates: many frames of each make no effect of the date."""
        found = []
        for seed in range(40):
            cells = Cells(seed, cells=1, frames=20, n_dates=7, n_groups=3)
            found.append(cells.shares(cells.effect_of(cells.subject) + cells.noise(0.1))["variance_cluster"].value)
        assert abs(np.mean(found)) < 0.05

    def test_the_class_comes_before_the_group_that_has_it(self):
        cells = Cells()
        class_alone = cells.shares(np.outer(cells.label, np.ones(DIMENSIONS)) + cells.noise(0.3), cells.label)
        assert class_alone["variance_phenotype"].value > 0.5 and abs(class_alone["variance_group"].value) < 0.02
        look = cells.shares(cells.effect_of(cells.group) + cells.noise(0.3), cells.label)
        assert look["variance_group"].value > look["variance_phenotype"].value > 0

    def test_what_the_design_does_not_tell_is_undefined(self):
        cells = Cells(n_groups=8)
        alone = np.char.replace(cells.date, "d", "g")  # unseen dates have one group each
        latent = cells.effect_of(cells.date) + cells.noise()
        found = latents.variance_partition(latent, cells.date, alone, cells.phenotype, cells.subject)
        assert (
            np.isnan(found["variance_group"].value)
            and "cluster and phenotype determine it" in found["variance_group"].note
        )
        assert np.isfinite(found["variance_phenotype"].value)
        label = (cells.date < "d4").astype(int)
        found = latents.variance_partition(latent, cells.date, alone, label, cells.subject, named="label")
        assert np.isnan(found["variance_phenotype"].value) and found["variance_phenotype"].note.endswith(
            "phenotype: label"
        )

    def test_too_few_cells_for_the_model(self):
        cells = Cells(crossed=False, cells=1)
        found = latents.variance_partition(
            cells.noise()[:9], *(a[:9] for a in (cells.date, cells.subject)), np.arange(9), cells.subject[:9]
        )
        assert all(np.isnan(r.value) and "too few" in r.note for r in found.values())


class TestSeparation:
    def test_it_is_scikit_learns_of_standardised_latents(self):
        cells = Cells()
        latent = cells.effect_of(cells.date) * np.arange(1, DIMENSIONS + 1) + cells.noise()
        found = latents.separation(latent, cells.date)
        scaled = (latent - latent.mean(0)) / latent.std(0)
        assert found["davies_bouldin"].value == pytest.approx(davies_bouldin_score(scaled, cells.date))
        assert found["calinski_harabasz"].value == pytest.approx(calinski_harabasz_score(scaled, cells.date))
        assert found["davies_bouldin"][1:] == (len(latent), "8 clusters")

    def test_dates_that_stand_apart(self):
        cells = Cells()
        apart = latents.separation(cells.effect_of(cells.date) + cells.noise(0.3), cells.date)
        mixed = latents.separation(cells.noise(), cells.date)
        assert apart["davies_bouldin"].value < 1 < 5 < mixed["davies_bouldin"].value
        assert apart["calinski_harabasz"].value > 100 > 5 > mixed["calinski_harabasz"].value

    def test_dimensions_that_do_not_vary_do_not_matter(self):
        cells = Cells()
        latent = cells.effect_of(cells.date) + cells.noise()
        wide = np.column_stack([latent, np.full(len(latent), 0.1, np.float32), np.zeros(len(latent))])
        assert latents.separation(wide, cells.date) == latents.separation(latent, cells.date)

    @pytest.mark.parametrize(
        ("latent", "clusters", "reason"),
        [
            (np.eye(4), ["a"] * 4, "1 clusters in 4"),
            (np.eye(4), list("abcd"), "4 clusters in 4"),
            (np.full((4, 2), np.nan), list("aabb"), "not finite"),
            (np.ones((4, 2)), list("aabb"), "do not vary"),
            (np.zeros((0, 2)), [], "do not vary"),
        ],
    )
    def test_undefined_with_the_reason(self, latent, clusters, reason):
        for reading in latents.separation(latent, np.array(clusters)).values():
            assert np.isnan(reading.value) and reason in reading.note and reading.n == len(latent)


class TestProbe:
    def test_reads_dates_that_are_there(self):
        cells = Cells()
        found = latents.cluster_probe(cells.effect_of(cells.date) + cells.noise(), cells.date, cells.subject)
        assert found.value > 0.95 and found.n == len(cells.frames) and found.note == "chance 0.125; 8 clusters"

    def test_latents_without_dates_are_at_chance(self):
        found = [
            latents.cluster_probe(cells.noise(), cells.date, cells.subject).value
            for cells in (Cells(seed, cells=4) for seed in range(10))
        ]
        assert np.mean(found) == pytest.approx(1 / 8, abs=0.03)

    def test_cells_that_differ_do_not_give_their_date_away(self):
        """Frames of one cell are alike: by frame instead of by cell the date would be read off each time."""
        cells = Cells(cells=4, frames=6)
        latent = cells.effect_of(cells.subject) + cells.noise(0.05)
        assert latents.cluster_probe(latent, cells.date, cells.subject).value < 0.25

    def test_the_group_alone_is_told_beside_chance(self):
        cells = Cells(crossed=False, n_dates=6)
        latent = cells.effect_of(cells.group) + cells.noise(0.1)
        found = latents.cluster_probe(latent, cells.date, cells.subject, cells.group)
        assert found.note == "chance 0.167; 0.5 by the group alone; 6 clusters"
        assert 0.35 < found.value < 0.65

    def test_each_subject_is_in_one_part_and_each_cluster_in_all_training_parts(self):
        cells = Cells(cells=1, n_groups=3)
        part = latents._parts(cells.date, cells.subject)
        for subject in np.unique(cells.subject):
            assert len(set(part[cells.subject == subject])) == 1
        for k in range(latents.FOLDS):
            assert set(cells.date[part != k]) == set(cells.date) and (part == k).any()

    def test_clusters_of_one_subject_are_left_out(self):
        cells = Cells(cells=2, n_dates=3, n_groups=1, frames=2)
        keep = cells.subject != "c0"
        found = latents.cluster_probe(cells.noise()[keep], cells.date[keep], cells.subject[keep])
        assert found.n == 8 and "2 clusters; 2 samples of clusters with one subject left out" in found.note
        none = latents.cluster_probe(cells.noise()[:2], cells.date[:2], cells.subject[:2])
        assert np.isnan(none.value) and none.note == "0 clusters have two subjects or more; needs 2"

    def test_fitted_to_other_cells(self):
        """Dates that are read off cells of theirs are recognised in others; what those cells hold beside is no help."""
        cells = Cells(cells=4)
        latent = cells.effect_of(cells.date) + cells.noise()
        known = np.isin(cells.subject, np.unique(cells.subject)[::2])
        fitted_to = latents.Labelled(latent[known], cells.date[known])
        rest = latent[~known], cells.date[~known], cells.subject[~known]
        found = latents.cluster_probe(*rest, cells.group[~known], fitted_to=fitted_to)
        assert found.value > 0.95 and found.n == (~known).sum() and "left out" not in found.note
        shuffled = latents.Labelled(latent[known], np.random.default_rng(0).permutation(cells.date[known]))
        assert latents.cluster_probe(*rest, fitted_to=shuffled).value < 0.5
        broken = latents.cluster_probe(*rest, fitted_to=latents.Labelled(latent[known] + np.inf, cells.date[known]))
        assert np.isnan(broken.value) and "not finite" in broken.note

    def test_the_same_each_time_and_in_any_order(self):
        cells = Cells(crossed=False, cells=5)
        latent = cells.effect_of(cells.date) + cells.noise(3)
        order = np.random.default_rng(1).permutation(len(latent))
        found = latents.cluster_probe(latent, cells.date, cells.subject)
        assert found == latents.cluster_probe(latent, cells.date, cells.subject)
        mixed = latents.cluster_probe(latent[order], cells.date[order], cells.subject[order])
        assert mixed.value == pytest.approx(found.value, abs=0.01)

    def test_latents_of_a_diverged_training(self):
        assert np.isnan(latents.cluster_probe(np.full((4, 2), np.inf), list("aabb"), list("wxyz")).value)


class TestDistances:
    def test_by_hand(self):
        """Two groups on two dates, one cell each, of two frames; latents that are standardised already."""
        group, date = np.array(list("ggggpppp")), np.array(list("ddeeddee"))
        subject = np.char.add(group, date)
        place = np.array([[-1, 1], [-1, -1], [1, 1], [1, -1]]).repeat(2, axis=0)
        latent = place + np.tile([[0.2, 0], [-0.2, 0]], (4, 1))
        scale = latent.std(0)
        found = latents.group_distances(latent, date, group, subject)
        assert found["pairs"].tolist() == [1, 1, 1, 1]
        within = found[found["kind"] == latents.WITHIN]
        assert within["group"].tolist() == ["g", "p"] and (within["cluster"] != within["other_cluster"]).all()
        assert within["distance"].tolist() == pytest.approx([2 / scale[1]] * 2)
        between = found[found["kind"] == latents.BETWEEN]
        assert between["distance"].tolist() == pytest.approx([2 / scale[0]] * 2)
        assert latents.distance_ratio(found) == pytest.approx(scale[0] / scale[1])

    def test_the_ratio_tells_who_orders_the_latents(self):
        cells = Cells(cells=3)
        by = {"group": cells.group, "date": cells.date, "nothing": cells.subject}
        ratio = {
            name: latents.distance_ratio(
                latents.group_distances(cells.effect_of(of) + cells.noise(0.3), cells.date, cells.group, cells.subject)
            )
            for name, of in by.items()
        }
        assert ratio["group"] < 0.5 < 0.95 < ratio["nothing"] < 1.05 < 2 < ratio["date"]

    def test_without_pairs_there_is_no_ratio(self):
        cells = Cells(n_groups=1)
        found = latents.group_distances(cells.noise(), cells.date, cells.group, cells.subject)
        assert set(found["kind"]) == {latents.WITHIN} and np.isnan(latents.distance_ratio(found))
        none = latents.group_distances(np.full((4, 2), np.nan), list("aabb"), list("abab"), list("wxyz"))
        assert none.empty and np.isnan(latents.distance_ratio(none))


class TestIntervals:
    """No values of single clusters to draw, on unseen ones neither: the splits are compared."""

    SETTINGS = Settings(test_to_train={"spirals_radius": 0.25}, random_splits={"spirals_radius"})

    @pytest.mark.parametrize("partition", ["latents", "latents_unseen"])
    def test_the_interval_is_over_splits(self, partition):
        values = [[0.5], [0.6], [0.55]]
        found = summarise(
            rows(values, partition=partition, metric="cluster_probe_accuracy"), NO_CLUSTERS, self.SETTINGS
        )
        row = found.set_index("ci_method").loc["corrected"]
        assert tuple(row[["mean", "ci_low", "ci_high"]]) == pytest.approx(corrected_t(np.ravel(values), 0.25)[:3])

    def test_accuracies_end_at_1(self):
        found = summarise(
            rows([[0.9], [1.0], [0.9]], partition="latents", metric="cluster_probe_accuracy"),
            NO_CLUSTERS,
            self.SETTINGS,
        )
        assert found.set_index("ci_method").loc["corrected", "ci_high"] == 1

    def test_indices_and_errors_do_not_go_below_0(self):
        for metric in ("mse", "davies_bouldin", "calinski_harabasz"):
            found = summarise(
                rows([[0.1], [4.0], [0.2]], partition="latents", metric=metric), NO_CLUSTERS, self.SETTINGS
            )
            row = found.set_index("ci_method").loc["corrected"]
            assert row["ci_low"] == 0 and row["ci_high"] > 4
