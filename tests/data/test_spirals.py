"""The simulations: the authors' dataset number by number, and the properties of new ones."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy import stats

from armed.data.spirals import SpiralSettings, bayes_label, simulate, spiral_curves
from armed.errors import ConfigError, DataError

CONFIG = yaml.safe_load((Path(__file__).parents[2] / "config" / "config.yaml").read_text())["studies"]


def block(study, **changes):
    return CONFIG[study]["data"] | changes


@pytest.fixture(scope="module")
def radius():
    return simulate(block("spirals_radius"), "spirals_radius", range(3))


@pytest.fixture(scope="module")
def confounded():
    settings = block("spirals_confounded", n_per_cluster=200, n_clusters=20)
    return simulate(settings, "spirals_confounded", range(4))


def test_the_authors_dataset(radius):
    seen = radius.part("seen")
    truth = radius.truth.query("variant == 'main' and part == 'seen'")
    published = [0.7019, 0.6810, 0.8086, 1.3185, 0.9528, 1.3281, 0.3775, 1.2102, 1.5024, 0.8808]
    np.testing.assert_allclose(truth["radius"], published, atol=5e-5)
    np.testing.assert_allclose(seen.X[0], [-0.108957, 0.140030], atol=5e-7)
    np.testing.assert_allclose(seen.X.mean(axis=0), [-0.00227, 0.00003], atol=5e-6)
    assert seen.X.shape == (10_000, 2) and seen.feature_names == ("x1", "x2")
    counts = np.unique(np.column_stack([seen.clusters, seen.y]), axis=0, return_counts=True)[1]
    assert counts.tolist() == [500] * 20


def test_the_authors_dataset_is_their_sequence_of_calls(radius):
    """Written out with the global generator, as PROTOCOL 2 tells it."""
    state = np.random.get_state()
    try:
        np.random.seed(48)
        radii = np.random.normal(1, 0.3, size=10)
        points = []
        for r in radii:
            for k in range(2):
                t = np.deg2rad(np.random.randint(0, 360, size=500))
                phase = 2 * np.pi * k / 2
                curve = [-np.cos(t - phase) * t * r / max(t), np.sin(t - phase) * t * r / max(t)]
                points.append(np.stack(curve, axis=1) + np.random.normal(scale=0.1, size=(500, 2)))
    finally:
        np.random.set_state(state)
    np.testing.assert_array_equal(radius.part("seen").X, np.concatenate(points))


def test_one_dataset_for_all_seeds_and_one_per_seed(radius):
    assert set(radius.part("seen").dataset) == {0}
    resampled = radius.part("seen", "resampled")
    assert np.unique(resampled.dataset).tolist() == [0, 1, 2]
    assert len(np.unique(resampled.sample_id)) == len(resampled) == 30_000
    drawn = [resampled.X[resampled.rows_of(seed)] for seed in range(3)]
    assert not np.array_equal(drawn[0], drawn[1])
    unseen = radius.part("unseen")
    assert len(unseen) == 2000 and not set(unseen.clusters) & set(radius.part("seen").clusters)


def test_a_seeds_dataset_does_not_depend_on_the_other_seeds_or_parts():
    small = {"n_per_cluster": 20, "n_per_unseen_cluster": 20}
    settings = block("spirals_confounded", **small)
    alone = simulate(settings, "spirals_confounded", [2, 1])
    among = simulate(settings | {"n_unseen_clusters": 3}, "spirals_confounded", range(4))
    for part in ("seen", "deconfounded"):
        a, b = alone.part(part), among.part(part)
        np.testing.assert_array_equal(a.X[a.rows_of(2)], b.X[b.rows_of(2)])
    other = simulate(settings, "another_study", [2, 1])
    assert not np.array_equal(other.part("seen").X, alone.part("seen").X)


def test_class_counts_follow_the_ratios(confounded):
    seen, truth = confounded.part("seen"), confounded.truth.query("part == 'seen'")
    assert truth["ratio"].between(0.1, 0.9).all() and truth["ratio"].std() > 0.2
    for row in truth.itertuples():
        y = seen.y[(seen.dataset == row.dataset) & (seen.clusters == row.cluster)]
        assert y.sum() == round(row.ratio * 200) and len(y) == 200


def test_probes_know_the_cluster_and_nothing_else(confounded):
    ratios = confounded.truth.query("part == 'seen'").set_index(["dataset", "cluster"])["ratio"]
    for part in ("seen", "deconfounded"):
        data = confounded.part(part)
        assert data.feature_names == ("x1", "x2", "probe1", "probe2")
        mean = ratios.loc[list(zip(data.dataset, data.clusters, strict=True))].to_numpy()
        rest = data.X[:, 2:] - mean[:, None]
        np.testing.assert_allclose(rest.std(axis=0), 0.2, rtol=0.03)
        for probe in (*rest.T, rest.sum(axis=1)):  # within clusters there is no sign of the label
            assert stats.ttest_ind(probe[data.y == 0], probe[data.y == 1]).pvalue > 1e-3
    seen, clean = confounded.part("seen"), confounded.part("deconfounded")
    assert np.corrcoef(seen.X[:, 2], seen.y)[0, 1] > 0.3
    assert abs(np.corrcoef(clean.X[:, 2], clean.y)[0, 1]) < 4 / np.sqrt(len(clean))


def test_deconfounded_has_the_same_clusters_half_and_half(confounded):
    truth = confounded.truth
    clean, seen = (truth[truth["part"] == part] for part in ("deconfounded", "seen"))
    columns = ["dataset", "cluster", "radius"]
    assert clean[columns].to_numpy().tolist() == seen[columns].to_numpy().tolist()
    assert (clean["ratio"] == 0.5).all()
    data = confounded.part("deconfounded")
    for dataset, cluster in {*zip(data.dataset, data.clusters, strict=True)}:
        y = data.y[(data.dataset == dataset) & (data.clusters == cluster)]
        assert (len(y), y.sum()) == (200, 100)


def test_no_deconfounded_part_without_probes(radius):
    assert set(radius.parts["main"]) == {"seen", "unseen"}


def test_seen_and_unseen_clusters_have_one_distribution():
    settings = block("spirals_confounded", n_per_cluster=20, n_per_unseen_cluster=20)
    truth = simulate(settings, "spirals_confounded", range(60)).truth
    seen, unseen = (truth[truth["part"] == part] for part in ("seen", "unseen"))
    for column in ("radius", "ratio"):
        assert stats.ks_2samp(seen[column], unseen[column]).pvalue > 1e-3
    assert stats.kstest(unseen["radius"], "norm", args=(1, 0.3)).pvalue > 1e-3


def test_inverted_radii_swap_the_classes():
    truth = simulate(block("spirals_inverted", n_per_cluster=20), "spirals_inverted", range(20)).truth
    assert 0.35 < (truth["radius"] < 0).mean() < 0.65
    curves = spiral_curves(0.7)
    np.testing.assert_allclose(spiral_curves(-0.7), curves[::-1], atol=1e-12)


def test_the_true_boundary_tells_the_classes_apart():
    settings = block("spirals_radius", noise=0.0, resampled=False)
    data = simulate(settings, "spirals_radius", [0])
    seen, truth = data.part("seen"), data.truth.query("part == 'seen'")
    for row in truth.itertuples():
        rows = seen.clusters == row.cluster
        away = np.linalg.norm(seen.X[rows], axis=1) > 0.02 * abs(row.radius)  # the spirals share the origin
        labels = bayes_label(seen.X[rows][away], row.radius)
        assert (labels == seen.y[rows][away]).all()
        np.testing.assert_array_equal(bayes_label(seen.X[rows][away], -row.radius), 1 - labels)


def test_the_curves_are_the_points_without_noise():
    curves = spiral_curves(1.2, per_degree=2)
    assert curves.shape == (2, 719, 2)
    np.testing.assert_allclose(np.linalg.norm(curves[:, -1], axis=1), 1.2)
    np.testing.assert_allclose(np.linalg.norm(curves, axis=2)[0], np.linspace(0, 1.2, 719), atol=1e-12)
    assert (bayes_label(np.zeros((3, 2)), 0.0) == 0).all()


def test_all_wrong_settings_are_told_at_once():
    wrong = block("spirals_radius", n_clusters=1, noise=-0.1, radius_sd=float("nan"), resampled="yes")
    with pytest.raises(ConfigError) as error:
        simulate(wrong, "spirals_radius", [0])
    message = str(error.value)
    assert message.startswith("4 problems with studies.spirals_radius.data:")
    assert "n_clusters is 1; expected an integer of at least 2" in message
    assert "resampled is 'yes'; expected true or false" in message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_cluster": 3}, "unknown key 'n_cluster'. Did you mean 'n_clusters'"),
        ({"dataset_seed": 2**32}, "dataset_seed"),
        ({"dataset_seed": None}, "set resampled to false"),
        ({"n_probes": 1, "n_per_unseen_cluster": 11}, "even number"),
        ({"n_per_cluster": True}, "n_per_cluster is True"),
    ],
)
def test_wrong_settings(changes, message):
    with pytest.raises(ConfigError, match=message):
        simulate(block("spirals_radius", **changes), "spirals_radius", [0])


def test_missing_settings_and_seeds():
    settings = block("spirals_radius")
    del settings["noise"]
    with pytest.raises(ConfigError, match="'noise' is missing"):
        simulate(settings, "spirals_radius", [0])
    with pytest.raises(ConfigError, match="a spirals study"):
        SpiralSettings(**block("spirals_radius", noise=-1.0))
    for seeds in ([], [1, 1]):
        with pytest.raises(DataError, match="each once"):
            simulate(block("spirals_radius"), "spirals_radius", seeds)


def test_every_configured_study_gives_the_parts_of_its_kind():
    small = {"n_per_cluster": 20, "n_per_unseen_cluster": 10}
    for study in ("spirals_radius", "spirals_inverted", "spirals_confounded"):
        data = simulate(block(study, **small), study, [0, 1])
        for parts in data.parts.values():
            for part in parts.values():
                part.check()
            assert ("deconfounded" in parts) == (study == "spirals_confounded")
        assert list(data.truth.columns) == ["variant", "dataset", "part", "cluster", "radius", "ratio"]
        assert not data.truth.isna().any().any()
