"""No leak from test rows and unseen clusters through the real jobs: split, fit, Z-predictor, tuning, predict, score.

Labels are shuffled anew for each seed, so that nothing can be learned that holds for rows not trained on. With all seeds fixed
beforehand, |mean - 0.5| must be below 3 standard errors over shuffles. What is expected, and why:

``main``
    Labels shuffled over the whole part; folds stratified by the labels before the shuffle, so that folds know nothing of the
    shuffled ones. Given the labels of training and validation rows, those of the test rows (and of the unseen part) are in
    uniformly random order: the expected AUROC of whatever was trained on the former is 0.5 exactly, for every fold.

``stratified``
    The same labels, folds stratified by them x cluster, as in the study. That is no leak in the jobs, but it is one by the
    design of the folds: a site of n subjects has K positive ones by chance, and stratifying puts about K / F of them into
    each of the F folds, so that the share of a site in training foretells its share in test. Over sites
    Cov(test, training) = Var(K) (F - 1) / F^2 - E[f (1 - f)], where f is the fractional part of K / F: above 0 unless sites
    are tiny, and 0 for folds that ignore labels. So models with an intercept for each site score above 0.5 on seen sites.
    Inside a site labels are still in random order given their counts. What is left after the AUROC that is expected from
    these counts alone must be 0, and so must ``within_cluster_auroc`` - 0.5.

``inside``
    Labels shuffled inside each cluster, folds stratified by them. The share of a cluster is real information, and the
    pooled AUROC may be above 0.5; ``within_cluster_auroc`` has the expectation 0.5, with site probes too.

``reference_protocol``
    The authors' early stopping by the test rows does leak, and these tests see it.
"""

from __future__ import annotations

import gzip
import json

import numpy as np
import pandas as pd
import pytest
import torch
from shuffled_study import FOLDS, Run, config, poisoned, repeated, shuffled, stand_in

from armed import registry
from armed.data.splits import Splits
from baselines.boosted_trees import MODELS

pytestmark = pytest.mark.slow

SHUFFLES = 20
LOOPS = SEARCHES = 12  # fewer where a library fits (a logistic mixed model takes 0.2 s), and with tuning
# Of fits that take next to no time. Of 12 shuffles one partition of logistic regression is 3.9 standard errors off, by chance.
QUICK, MANY = ("logistic_regression", "gradient_boosting"), 60
POISONED = 3  # datasets
STUDIES = ("mci_conversion", "mci_probes")
# The logistic mixed model takes as long as all others together; it sees probes no other way than features.
CASES = [(s, m) for s in STUDIES for m in registry.models_for(s) if (s, m) != ("mci_probes", "mixed_logit")]
PARTITIONS = ("seen", "unseen", "unseen_population")
WITH_SITE_INTERCEPTS = ("menet", "lmmnn", "mixedlm")
TUNED = ("conventional", "armed")


@pytest.fixture(scope="module")
def labels() -> dict:
    """The stand-in as 20 datasets: with its own labels, and shuffled in both ways."""
    own = repeated(stand_in(), SHUFFLES)
    return {"own": own, "main": shuffled(own, inside=False), "inside": shuffled(own, inside=True)}


@pytest.fixture(scope="module")
def runs(labels, tmp_path_factory) -> dict[str, Run]:
    """Both kinds of shuffle, by study."""
    variants = {name: labels[name] for name in ("main", "inside")}
    folder = tmp_path_factory.mktemp("shuffled")
    return {s: Run(folder / s, s, config(s, SHUFFLES, LOOPS), variants, {"main": labels["own"]}) for s in STUDIES}


@pytest.fixture(scope="module")
def many(tmp_path_factory) -> dict[str, Run]:
    """As `runs`, of more shuffles."""
    own, folder = repeated(stand_in(), MANY), tmp_path_factory.mktemp("many")
    variants = {"main": shuffled(own, inside=False), "inside": shuffled(own, inside=True)}
    return {s: Run(folder / s, s, config(s, MANY), variants, {"main": own}) for s in STUDIES}


@pytest.fixture(scope="module")
def stratified(labels, tmp_path_factory) -> Run:
    folder = tmp_path_factory.mktemp("stratified") / "run"
    return Run(folder, "mci_conversion", config("mci_conversion", SHUFFLES, LOOPS), {"main": labels["main"]})


def by_shuffle(table: pd.DataFrame, variant: str, partition: str, metric: str) -> pd.Series:
    """Mean over folds, by seed."""
    kept = table.query("variant == @variant and partition == @partition and metric == @metric")
    assert kept["value"].notna().all()
    return kept.groupby("seed")["value"].mean()


def assert_near(values: pd.Series, expected: float = 0.5) -> None:
    assert len(values) >= LOOPS
    difference, error = values.mean() - expected, values.sem()
    assert abs(difference) < 3 * error, f"{difference:+.4f}, standard error {error:.4f}"


def partitions_of(model: str) -> tuple[str, ...]:
    return PARTITIONS if registry.model(model).infers_clusters else PARTITIONS[:2]


@pytest.mark.parametrize(("study", "model"), CASES)
def test_labels_shuffled_over_all_rows_are_not_predicted(runs, many, study, model):
    table = (many if model in QUICK else runs)[study].table(model)
    for partition in partitions_of(model):
        for metric in ("auroc", "within_cluster_auroc"):
            assert_near(by_shuffle(table, "main", partition, metric))


@pytest.mark.parametrize(("study", "model"), CASES)
def test_labels_shuffled_inside_clusters_are_not_predicted_there(runs, many, study, model):
    table = (many if model in QUICK else runs)[study].table(model)
    for partition in partitions_of(model):
        assert_near(by_shuffle(table, "inside", partition, "within_cluster_auroc"))
    if model in (*WITH_SITE_INTERCEPTS, *QUICK, "gpboost"):
        assert by_shuffle(table, "inside", "seen", "auroc").mean() > 0.55, "the share of a cluster is real"


def test_labels_shuffled_over_all_rows_are_not_predicted_after_tuning(labels, tmp_path):
    run = Run(
        tmp_path / "run",
        "mci_conversion",
        config("mci_conversion", SEARCHES, tuned=TUNED),
        {"main": labels["main"]},
        {"main": labels["own"]},
    )
    for model in TUNED:
        for partition in partitions_of(model):
            assert_near(by_shuffle(run.table(model), "tuned", partition, "auroc"))


def test_early_stopping_by_the_test_rows_does_leak(labels, tmp_path):
    """With more and larger steps than elsewhere here, so that there is much to choose from; the same fits but for the stop."""
    names = ("main", "reference_protocol")
    run = Run(
        tmp_path / "run",
        "mci_conversion",
        config("mci_conversion", SHUFFLES, epochs=30, patience=30, learning_rate=0.01),
        {name: labels["main"] for name in names},
        {name: labels["own"] for name in names},
    )
    table = run.table("conventional")
    honest, leaking = (by_shuffle(table, name, "seen", "auroc") for name in names)
    assert_near(honest)
    assert leaking.mean() - 0.5 > 3 * leaking.sem() and (leaking - honest).mean() > 3 * (leaking - honest).sem()
    for name in names:
        assert_near(by_shuffle(table, name, "unseen", "auroc"))


class TestStratifiedFolds:
    """The bias by design, and that nothing else is left."""

    def test_the_share_of_a_site_in_training_foretells_test_labels(self, labels, runs, stratified):
        """Without any model: each test row scored by the share of positives among the training rows of its site."""
        part = labels["main"]["seen"]
        by_shares = [share_auroc(part, run.folds()) for run in (stratified, runs["mci_conversion"])]
        assert by_shares[0].mean() - 0.5 > 3 * by_shares[0].sem() and by_shares[0].mean() > 0.53
        assert_near(by_shares[1])

    def test_covariance_of_positives(self, labels, stratified):
        """The closed form of the module's docstring, against the folds; Var(K) is hypergeometric."""
        part, covariance = labels["main"]["seen"], []
        site = part.codes(part.levels)
        n = np.bincount(site) / SHUFFLES
        N, share = n.sum(), part.y.mean()
        for f in stratified.folds():
            test, others = (np.bincount(site[r], weights=part.y[r]) for r in (f.test, np.r_[f.train, f.validation]))
            mean = n * share / FOLDS
            covariance.append(((test - mean) * (others - (FOLDS - 1) * mean)).mean())
        variance = (n * share * (1 - share) * (N - n) / (N - 1)).mean()
        per_fold = np.bincount(site + len(n) * part.dataset, weights=part.y) / FOLDS
        f = per_fold - np.floor(per_fold)
        expected = variance * (FOLDS - 1) / FOLDS**2 - (f * (1 - f)).mean()
        assert expected > 0 and np.mean(covariance) == pytest.approx(expected, rel=0.15)

    @pytest.mark.parametrize("model", ["conventional", "armed", *WITH_SITE_INTERCEPTS])
    def test_nothing_is_left_but_the_bias_by_design(self, stratified, model):
        table = stratified.table(model)
        for partition in partitions_of(model)[1:]:
            assert_near(by_shuffle(table, "main", partition, "auroc"))
        assert_near(by_shuffle(table, "main", "seen", "within_cluster_auroc"))
        found = by_shuffle(table, "main", "seen", "auroc")
        if model in WITH_SITE_INTERCEPTS:
            assert found.mean() > 0.5 + found.sem()
        predictions = stratified.table(model, "predictions").query("partition == 'seen'")
        given = predictions.groupby(["seed", "fold"]).apply(auroc_by_counts, include_groups=False)
        assert_near(found - given.groupby("seed").mean(), 0)


def share_auroc(part, folds: Splits) -> pd.Series:
    """AUROC of the training share of a site, by seed."""
    site, found = part.codes(part.levels), []
    for f in folds:
        rows = np.concatenate([f.train, f.validation])
        share = np.bincount(site[rows], weights=part.y[rows]) / np.bincount(site[rows])
        y, order = part.y[f.test], compared(share[site[f.test]])
        found.append((f.seed, order[np.ix_(y == 1, y == 0)].mean()))
    return pd.DataFrame(found, columns=["seed", "value"]).groupby("seed")["value"].mean()


def compared(output: np.ndarray) -> np.ndarray:
    """Whether row i is above row j: 1, 0, or a half where they are equal, (n, n)."""
    return (np.sign(output[:, None] - output) + 1) / 2


def auroc_by_counts(rows: pd.DataFrame) -> float:
    """AUROC expected of these predictions if the labels inside each cluster are in random order."""
    y, site = rows["y_true"].to_numpy(), rows["cluster"].cat.codes.to_numpy()
    share = (np.bincount(site, weights=y) / np.maximum(np.bincount(site), 1))[site]
    n = np.bincount(site)[site]
    pairs = share[:, None] * (1 - share)  # that i is positive and j negative
    same = site[:, None] == site
    # Of two rows of one cluster the labels are drawn without replacement.
    pairs = np.where(same, pairs * n / np.maximum(n - 1, 1), pairs)
    np.fill_diagonal(pairs, 0)
    return float((pairs * compared(rows["mixed"].to_numpy())).sum() / (y.sum() * (1 - y).sum()))


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> dict[str, tuple[Run, Run]]:
    """The jobs on clean and on poisoned data, on the same folds, by study."""
    own, found = repeated(stand_in(), POISONED), {}
    for study in STUDIES:
        folder, settings = tmp_path_factory.mktemp("poison"), config(study, POISONED)
        clean = Run(folder / "clean", study, settings, {"main": own})
        other = poisoned(own, Splits(tuple(f for f in clean.folds() if f.fold == f.seed)))
        found[study] = clean, Run(folder / "poisoned", study, settings, {"main": other}, {"main": own})
        pd.testing.assert_frame_equal(*(run.folds().to_frame() for run in found[study]))
    return found


class TestPoison:
    """Dataset s has other features and labels in the test rows of fold s, and in all unseen clusters: the fit of fold s is the
    same bit for bit, and fits of other folds, which train on these rows, are others."""

    @pytest.mark.parametrize(("study", "model"), [(s, m) for s, m in CASES if not registry.model(m).weights_from])
    def test_of_models(self, pairs, study, model):
        self.compare(*(run.fit(model) / "main" for run in pairs[study]))

    @pytest.mark.parametrize("study", STUDIES)
    def test_of_the_z_predictor(self, pairs, study):
        self.compare(*(run.z_predictor() / "main" for run in pairs[study]))

    def compare(self, clean, other) -> None:
        a, b = learned(clean), learned(other)
        assert a.keys() == b.keys()
        n, changed = POISONED * FOLDS, np.zeros(POISONED * FOLDS, dtype=bool)
        untouched = np.arange(POISONED) * FOLDS + np.arange(POISONED)
        for name in a:
            assert len(a[name]) == n, name
            np.testing.assert_array_equal(a[name][untouched], b[name][untouched], err_msg=name)
            changed |= (a[name] != b[name]).reshape(n, -1).any(1)
        assert np.delete(changed, untouched).all()


def learned(folder) -> dict[str, np.ndarray]:
    """All that a fit has learned, by name, each with an axis of fits first."""
    if (folder / "weights.pt").exists():
        state = torch.load(folder / "weights.pt", weights_only=True)
        return {name: tensor.numpy() for name, tensor in state.items()}
    found = {}
    if (folder / MODELS).exists():
        with gzip.open(folder / MODELS, "rt") as file:
            found["trees"] = np.array(json.load(file))
    if (folder / "estimates.npz").exists():
        with np.load(folder / "estimates.npz") as file:
            found |= {name: file[name] for name in file.files if name != "slopes_"}
    return found
