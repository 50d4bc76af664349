"""MeNet: recovery of a known truth, schedule of EM, independence of replicas, and the contract."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import expit

from armed.data.clustered import ClusteredData
from armed.data.splits import Fold, Splits, make_splits
from armed.errors import ConfigError, UnseenClusterError
from baselines.menet import EM, MeNet, SlopesNetwork

TRAINING = {"epochs": 4, "batch_size": 16, "learning_rate": 0.01}


def simulate(label="binary", n_clusters=6, n=60, seed=0, sd=1.0):
    """A linear truth with random slopes on x1, x2 and a random intercept; returns the data and the effects (q, 3)."""
    rng = np.random.default_rng(seed)
    codes = np.repeat(np.arange(n_clusters), n)
    X = rng.normal(size=(len(codes), 2))
    u = sd * rng.normal(size=(n_clusters, 3))
    u -= u.mean(0)
    eta = X @ [1.0, -1.0] + (X * u[codes, :2]).sum(1) + u[codes, 2]
    y = eta + 0.5 * rng.normal(size=len(eta)) if label == "continuous" else (rng.random(len(eta)) < expit(eta)) * 1
    return ClusteredData(X, y, np.array([f"c{c:02d}" for c in codes])), u


@pytest.fixture(scope="module")
def data():
    return simulate()[0]


@pytest.fixture(scope="module")
def splits(data):
    folds = list(make_splits(data, [0, 1], 3, "t"))
    folds[1] = Fold(folds[1].seed, folds[1].fold, folds[1].train[::2], folds[1].validation, folds[1].test)
    return Splits(tuple(folds))  # folds of unlike sizes: replicas with fewer batches and blocks than others


@pytest.fixture(scope="module")
def fitted(data, splits):
    return MeNet(training=TRAINING, em_rounds=3).fit(data, splits)


def effects_of(method):
    return method.stack_.state_views()["effects"]


class TestClassWeights:
    def test_both_steps_have_them(self):
        """25% positive in all clusters: with equal weight the classes balance, and the E-step does not undo it."""
        data, _ = simulate()
        data = ClusteredData(data.X, (np.arange(360) % 4 == 0).astype(int), data.clusters)
        rows = np.arange(360)
        logits = {}
        for kind in ("none", "balanced"):
            training = {"epochs": 30, "batch_size": 60, "learning_rate": 0.02, "class_weights": kind}
            method = MeNet(network={"hidden": []}, training=training, em_rounds=30)
            method.fit(data, Splits((Fold(0, 0, rows, rows[:0], rows[:0]),)))
            logits[kind] = method.predict(data).mixed.mean()
        assert logits["none"] == pytest.approx(np.log(1 / 3), abs=0.2)
        assert logits["balanced"] == pytest.approx(0, abs=0.2)

    def test_rows_have_the_weights_of_their_replica(self, data, splits):
        found = []

        class Looking(EM):
            def _cells(self, state, part):
                cells = super()._cells(state, part)
                found.append((cells, self._blocks.filled[part].flatten(0, 1)))
                return cells

        class Seen(MeNet):
            def program(self):
                return Looking(self.objective(), 1, 1, self.prior_sd, self.center)

        Seen(training={"epochs": 1, "class_weights": "balanced"}, em_rounds=1).fit(data, splits)
        (cells, filled), q = found[-1], len(data.levels)
        for r, fold in enumerate(splits):
            share = data.y[fold.train].mean()
            own = filled & (cells.cell // q == r).unsqueeze(1)
            assert own.sum() == len(fold.train) and cells.y[own].mean() == pytest.approx(share)
            expected = torch.where(cells.y[own] == 1, 1 - share, share).to(cells.weight)
            torch.testing.assert_close(cells.weight[own], expected)
        assert (cells.weight[~filled] == 0).all()


class TestRecovery:
    @pytest.mark.parametrize("label", ["continuous", "binary"])
    def test_linear_truth(self, label):
        data, u = simulate(label, n_clusters=20, n=100)
        rows = np.arange(len(data))
        training = {"epochs": 15, "batch_size": 32, "learning_rate": 0.02}
        method = MeNet(label=label, network={"hidden": []}, training=training, em_rounds=15)
        method.fit(data, Splits((Fold(0, 0, rows, rows[:0], rows[:0]),)))
        table = method.random_effects_
        for j, name in enumerate(["x1", "x2", ""]):
            own = table[table.feature == name].sort_values("cluster")
            assert np.corrcoef(own["mean"], u[:, j])[0, 1] > 0.9
            assert 0.7 < own["mean"].std() / u[:, j].std(ddof=1) < 1.3
        state = method.stack_.state()
        np.testing.assert_allclose(state["net.output.weight"][0, 0], [1.0, -1.0], atol=0.25)
        if label == "continuous":
            assert float(state["residual_variance"][0]) == pytest.approx(0.25, rel=0.1)

    def test_only_training_rows_count(self, data, splits):
        fold = splits.folds[0]
        y = data.y.copy()
        y[fold.test] = 1 - y[fold.test]
        other = ClusteredData(data.X, y, data.clusters)
        one = Splits((fold,))
        a, b = (effects_of(MeNet(training=TRAINING).fit(d, one)) for d in (data, other))
        assert torch.equal(a, b)


class TestRounds:
    @pytest.mark.parametrize(
        ("epochs", "rounds", "expected"),
        [(6, 3, [2, 4, 6]), (5, 2, [3, 5]), (3, 10, [1, 2, 3]), (4, 4, [1, 2, 3, 4]), (4, 1, [4])],
    )
    def test_spread_over_epochs(self, data, splits, monkeypatch, epochs, rounds, expected):
        seen, epoch = [], [0]
        start = EM.start_epoch

        def start_epoch(self, state, number):
            epoch[0] = number
            start(self, state, number)
            epoch[0] = number + 1

        monkeypatch.setattr(EM, "start_epoch", start_epoch)
        monkeypatch.setattr(EM, "e_step", lambda self, state: seen.append(epoch[0]))
        method = MeNet(training={**TRAINING, "epochs": epochs, "batch_size": 128}, em_rounds=rounds)
        method.fit(data, Splits(splits.folds[:1]))
        assert seen == expected
        assert not effects_of(method).any()  # nothing but an E-step moves the effects

    def test_centering_leaves_the_mixed_prediction(self, data, splits):
        """With one round both fits train the same; they differ in where the mean of the effects is kept."""
        rows = {(0, 0): np.arange(len(data))}
        one = Splits(splits.folds[:1])
        on, off = (MeNet(training=TRAINING, em_rounds=1, center=c).fit(data, one) for c in (True, False))
        a, b = on.predict(data, rows), off.predict(data, rows)
        np.testing.assert_allclose(a.mixed, b.mixed, atol=1e-4)
        assert np.abs(a.fixed - b.fixed).max() > 1e-3
        assert effects_of(on).mean(1).abs().max() < 1e-5


class TestStack:
    def test_a_replica_alone_is_the_replica_in_a_stack(self, data, splits, fitted):
        for i in (0, 1, 5):
            fold = splits.folds[i]
            alone = MeNet(training=TRAINING, em_rounds=3).fit(data, Splits((fold,))).stack_.state()
            for name, value in fitted.stack_.state().items():
                assert torch.equal(value[i], alone[name][0]), name

    def test_smaller_stacks_change_nothing(self, data, splits, fitted):
        parts = MeNet(training=TRAINING, em_rounds=3, stack_size=4).fit(data, splits)
        assert torch.equal(effects_of(parts), effects_of(fitted))

    def test_continues_from_a_checkpoint(self, data, splits, fitted, tmp_path, monkeypatch):
        path = tmp_path / "checkpoint"
        start = EM.start_epoch

        def interrupted(self, state, epoch):
            if epoch == 3:
                raise KeyboardInterrupt
            start(self, state, epoch)

        method = MeNet(training=TRAINING, em_rounds=3)
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(EM, "start_epoch", interrupted)
            method.fit(data, splits, checkpoint=path)
        method.fit(data, splits, checkpoint=path)
        for name, value in fitted.stack_.state().items():
            assert torch.equal(value, method.stack_.state()[name]), name

    def test_early_stopping(self, data):
        splits = make_splits(data, [0], 2, "t", validation_fraction=0.2)
        method = MeNet(training={**TRAINING, "epochs": 8, "patience": 2}).fit(data, splits)
        assert torch.isfinite(effects_of(method)).all() and effects_of(method).any()


class TestDegenerateClusters:
    def test_one_class_one_sample_no_sample(self):
        data, _ = simulate()
        y = data.y.copy()
        y[data.clusters == "c00"] = 1
        y[data.clusters == "c01"] = 0
        y[data.clusters == "c02"] = data.X[data.clusters == "c02", 0] > 0  # separated
        rows = np.arange(len(data))
        few = np.flatnonzero((data.clusters != "c03") | (np.cumsum(data.clusters == "c03") == 1))
        none = rows[data.clusters != "c04"]
        folds = [Fold(0, 0, few, rows[:0], rows[:0]), Fold(0, 1, none, rows[:0], rows[:0])]
        changed = ClusteredData(data.X, y, data.clusters)
        method = MeNet(training={**TRAINING, "epochs": 10}).fit(changed, Splits(tuple(folds)))
        assert not method.notes_
        state = method.stack_.state()
        assert all(torch.isfinite(value).all() for value in state.values())
        assert state["effects"].abs().max() < 100
        assert (state["effects_sd"] > 0).all()
        assert not state["effects"][1, 4].any()  # the prior's mean where a cluster has no training rows
        assert np.isfinite(method.predict(changed).mixed).all()

    def test_a_constant_unit_keeps_its_prior(self):
        """A unit that is always 0 says nothing: its slope stays at the prior, and Sigma stays invertible."""
        data, _ = simulate("continuous")
        wide = ClusteredData(np.column_stack([data.X, np.zeros(len(data))]), data.y, data.clusters)
        rows = np.arange(len(data))
        method = MeNet(label="continuous", network={"hidden": []}, training=TRAINING, prior_sd=0.5)
        method.fit(wide, Splits((Fold(0, 0, rows, rows[:0], rows[:0]),)))
        effects, sigma = effects_of(method)[0], method.stack_.state()["covariance"][0]
        assert not effects[:, 2].any()
        assert float(sigma[2, 2]) == pytest.approx(0.25, rel=1e-3)
        assert (torch.linalg.eigvalsh(sigma) > 0).all()


class TestContract:
    def test_random_effects_table(self, fitted, data):
        table = fitted.random_effects_
        assert list(table.columns) == ["seed", "fold", "cluster", "effect", "feature", "mean", "sd"]
        assert len(table) == 6 * 6 * 5
        assert not table.duplicated(["seed", "fold", "cluster", "effect", "feature"]).any()
        slopes = table[table.effect == "slope"]
        assert sorted(slopes.feature.unique()) == [f"hidden.2[{j}]" for j in range(4)]
        assert set(table[table.effect == "intercept"].feature) == {""}
        assert (table.sd > 0).all()
        chosen = table[(table.seed == 1) & (table.fold == 2) & (table.cluster == "c03") & (table.effect == "slope")]
        np.testing.assert_array_equal(chosen["mean"], effects_of(fitted)[5, 3, :4].numpy())

    def test_repeatable(self, data, splits, fitted):
        again = MeNet(training=TRAINING, em_rounds=3).fit(data, splits)
        np.testing.assert_array_equal(again.predict(data).mixed, fitted.predict(data).mixed)

    def test_save_and_load(self, data, fitted, tmp_path):
        fitted.save(tmp_path / "m")
        loaded = MeNet.load(tmp_path / "m")
        a, b = fitted.predict(data), loaded.predict(data)
        np.testing.assert_array_equal(a.mixed, b.mixed)
        np.testing.assert_array_equal(a.fixed, b.fixed)
        assert loaded.random_effects_.equals(fitted.random_effects_)
        assert loaded.stack_.state()["covariance"].dtype == torch.float64

    def test_unseen_clusters(self, data, fitted):
        new = ClusteredData(data.X[:20], data.y[:20], np.repeat(["c00", "new"], 10))
        with pytest.raises(UnseenClusterError, match="new"):
            fitted.predict(new)
        p = fitted.predict(new, new_clusters="population")
        unseen = p.row >= 10
        np.testing.assert_array_equal(p.mixed[unseen], p.fixed[unseen])
        assert np.abs(p.mixed - p.fixed)[~unseen].max() > 0

    def test_soft_z_blends(self):
        module = SlopesNetwork(MeNet().build_net((2,), 1), 3, 0.3).eval()
        module.effects.copy_(torch.randn(3, 5, generator=torch.Generator().manual_seed(0)))
        X = torch.randn(4, 2, generator=torch.Generator().manual_seed(1))
        hard = [module(X, torch.full((4,), c)).random for c in range(3)]
        soft = module(X, torch.tensor([0.2, 0.5, 0.3]).expand(4, 3)).random
        torch.testing.assert_close(soft, 0.2 * hard[0] + 0.5 * hard[1] + 0.3 * hard[2])
        for nobody in (torch.full((4,), -1), torch.zeros(4, 3)):
            out = module(X, nobody)
            assert torch.equal(out.mixed, out.fixed)

    def test_all_wrong_settings_at_once(self, data, splits):
        with pytest.raises(ConfigError) as error:
            MeNet(em_rounds=0, prior_sd=0.0).fit(data, splits)
        text = str(error.value)
        assert "em_rounds is 0" in text and "prior_sd is 0.0" in text
