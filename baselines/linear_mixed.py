"""What the two statsmodels mixed models share: design matrices, predictions, labelled results."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from armed.data.arrays import read_arrays
from armed.errors import ConfigError, Problems, did_you_mean
from baselines.one_by_one import MOST_ESTIMATES, OneByOne, cluster_effects

DEPENDENT = 1e-8  # a standardised column whose part not explained by those before it has a smaller s.d. is left out
STATE = ("betas_", "beta_sds_", "effects_", "effect_sds_", "covariances_", "residual_sds_")


@dataclass(frozen=True)
class Design:
    """Training rows of one fold. Columns are standardised: the fits are then well conditioned whatever the units.

    Attributes
    ----------
    X : array, shape (n, k)
        1, then the features that are not left out, with mean 0 and s.d. 1.
    y : array, shape (n,)
    codes : array of int, shape (n,)
        Position of each row's cluster among the clusters of these rows.
    slopes : array of int
        Columns of X with random slopes.
    n_clusters : int
    kept : array of int, shape (k - 1,)
        Which features the columns of X are.
    to_raw : array, shape (k, k)
        Times coefficients of X gives those of 1 and the raw features.
    """

    X: np.ndarray
    y: np.ndarray
    codes: np.ndarray
    slopes: np.ndarray
    n_clusters: int
    kept: np.ndarray
    to_raw: np.ndarray

    @classmethod
    def of(cls, X: np.ndarray, y: np.ndarray, codes: np.ndarray, slopes: Sequence[int]) -> Design:
        """Standardise features X (n, p) and leave out those that are constant or depend linearly on earlier ones."""
        mean, sd = X.mean(0), X.std(0)
        constant = sd <= 1e-10 * np.maximum(np.abs(mean), np.finfo(float).tiny)
        scaled = np.where(constant, 0.0, (X - mean) / np.where(constant, 1.0, sd))
        own = np.zeros(X.shape[1])  # of the unit s.d., the part that earlier columns do not explain
        diagonal = np.abs(np.diag(np.linalg.qr(scaled, mode="r"))) / np.sqrt(len(X))
        own[: len(diagonal)] = diagonal
        kept = np.flatnonzero(own > DEPENDENT)
        to_raw = np.diag(np.r_[1.0, 1.0 / sd[kept]])
        to_raw[0, 1:] = -mean[kept] / sd[kept]
        position = {feature: column + 1 for column, feature in enumerate(kept)}
        columns = np.array([position[j] for j in slopes if j in position], dtype=int)
        design = np.column_stack([np.ones(len(X)), scaled[:, kept]])
        return cls(design, y, codes, columns, int(codes.max()) + 1, kept, to_raw)


@dataclass(frozen=True)
class Estimates:
    """A fitted model, in the coordinates of its `Design`; e = 1 + slopes random effects, the intercept first.

    Attributes
    ----------
    coefficients : array, shape (k,)
    effects : array, shape (n_clusters, e)
        Conditional (posterior) means of the random effects.
    effect_covariances : array, shape (n_clusters, e, e)
        Conditional (posterior) covariances of the random effects.
    covariance : array, shape (e, e)
        Of the random effects over clusters.
    residual_sd : float
        NaN where the model has none.
    notes : tuple of str
        What a reader should know of the fit.
    coefficient_sds : array, shape (k,), optional
        Posterior s.d. of the coefficients, taken as independent; not told where absent.
    """

    coefficients: np.ndarray
    effects: np.ndarray
    effect_covariances: np.ndarray
    covariance: np.ndarray
    residual_sd: float
    notes: tuple[str, ...]
    coefficient_sds: np.ndarray | None = None


class LinearMixed(OneByOne):
    """A model linear in the features, with random intercepts and slopes, fitted to the training rows of each fold.

    Validation rows are not used: nothing is stopped early or tuned. Classes are not weighted: the likelihood is that of the
    data. The fixed effects prediction is that of a cluster of which
    nothing is known (random effects 0); the mixed one adds the random effects of the row's cluster, Z times effects where Z
    is soft. A cluster that has no training rows in a fold has mean 0 and the s.d. over clusters there.

    Parameters
    ----------
    slopes : "all", sequence of str, or None
        Features with random slopes; None for random intercepts alone.
    **common : object
        As for `armed.method.Method`.

    Attributes
    ----------
    slopes_ : list of int
        Features with random slopes.
    betas_, beta_sds_, effects_, effect_sds_, covariances_, residual_sds_ : array
        (R, 1 + p), (R, 1 + p), (R, q, e), (R, q, e), (R, e, e), (R,): estimates of R fits for q clusters and e = 1 + slopes
        random effects, the intercept first, on the features as given; the tables below say the same with names.
    coefficients_ : DataFrame
        seed, fold, feature ("" for the intercept), coefficient, sd (posterior s.d.; NaN where the method tells none).
    components_ : DataFrame
        seed, fold, kind ("random" or "residual"), first, second (features, "" for the intercept), vcov, sdcor: variances with
        s.d., covariances with correlations, as lme4's VarCorr.
    """

    uses_clusters = True

    def __init__(self, *, slopes: str | Sequence[str] | None = "all", **common: object) -> None:
        super().__init__(**common)
        self.slopes = slopes

    @abstractmethod
    def _estimate(self, design: Design) -> Estimates:
        """Fit one model."""

    def _link(self, linear: np.ndarray) -> np.ndarray:
        """Linear predictors to outputs (logits, or means of continuous labels)."""
        return linear

    def _allocate(self, data, n):
        shape = n, len(self.levels_), 1 + len(self.slopes_)
        self.betas_ = np.zeros((n, 1 + data.X.shape[1]))
        self.beta_sds_ = np.full(self.betas_.shape, np.nan)
        self.effects_, self.effect_sds_ = np.zeros(shape), np.zeros(shape)
        self.covariances_ = np.zeros((n, shape[2], shape[2]))
        self.residual_sds_ = np.full(n, np.nan)

    def _fit_fold(self, i, fold, data, codes, settings):
        present, compact = np.unique(codes[fold.train], return_inverse=True)
        y = data.y[fold.train].astype(float)
        design = Design.of(data.X[fold.train], y, compact, self.slopes_)
        found = self._estimate(design)
        raw = np.r_[0, 1 + design.kept]
        self.betas_[i, raw] = design.to_raw @ found.coefficients
        if found.coefficient_sds is not None:
            self.beta_sds_[i, raw] = np.sqrt(design.to_raw**2 @ found.coefficient_sds**2)
        columns = np.r_[0, design.slopes]
        turn = design.to_raw[np.ix_(columns, columns)]
        slots = np.r_[0, [1 + self.slopes_.index(j) for j in raw[design.slopes] - 1]].astype(int)
        covariance = turn @ found.covariance @ turn.T
        variances = np.einsum("ij,cjk,ik->ci", turn, found.effect_covariances, turn)
        self.covariances_[i][np.ix_(slots, slots)] = covariance
        self.effect_sds_[i][:, slots] = np.sqrt(np.maximum(np.diag(covariance), 0))
        self.effect_sds_[i][np.ix_(present, slots)] = np.sqrt(np.maximum(variances, 0))
        self.effects_[i][np.ix_(present, slots)] = found.effects @ turn.T
        self.residual_sds_[i] = found.residual_sd
        absent = [name for j, name in enumerate(data.feature_names) if j not in design.kept]
        notes = list(found.notes)
        if absent:
            notes.append(f"constant or linearly dependent in training, coefficient 0: {', '.join(absent)}")
        if notes:
            self.notes_[(fold.seed, fold.fold)] = "; ".join(notes)

    @property
    def random_effects_(self):
        self._check_fitted()
        effects = ["intercept"] + ["slope"] * len(self.slopes_)
        index = pd.MultiIndex.from_product([range(len(self.replicas_)), self.levels_, range(len(effects))])
        table = pd.DataFrame({"mean": self.effects_.ravel(), "sd": self.effect_sds_.ravel()}, index=index).reset_index()
        table.columns = ["replica", "cluster", "effect", "mean", "sd"]
        table.insert(3, "feature", np.array(self._terms)[table["effect"]])
        table["effect"] = np.array(effects)[table["effect"]]
        return self._keyed(table)

    @property
    def coefficients_(self) -> pd.DataFrame:
        """Fixed effects on the features as given; see the class."""
        self._check_fitted()
        index = pd.MultiIndex.from_product([range(len(self.replicas_)), ["", *self.feature_names_]])
        table = pd.DataFrame({"coefficient": self.betas_.ravel(), "sd": self.beta_sds_.ravel()}, index=index)
        table = table.reset_index()
        table.columns = ["replica", "feature", "coefficient", "sd"]
        return self._keyed(table)

    @property
    def components_(self) -> pd.DataFrame:
        """Variance components on the features as given; see the class."""
        self._check_fitted()
        rows = []
        for i, (covariance, residual) in enumerate(zip(self.covariances_, self.residual_sds_, strict=True)):
            sd = np.sqrt(np.diag(covariance))
            for a, first in enumerate(self._terms):
                for b, second in enumerate(self._terms[: a + 1]):
                    product = sd[a] * sd[b]
                    correlation = covariance[a, b] / product if product > 0 else np.nan
                    rows.append((i, "random", second, first, covariance[a, b], sd[a] if a == b else correlation))
            if np.isfinite(residual):
                rows.append((i, "residual", "", "", residual**2, residual))
        return self._keyed(pd.DataFrame(rows, columns=["replica", "kind", "first", "second", "vcov", "sdcor"]))

    def importance(self, data, rows):
        """As for `armed.method.Method.importance`: abs(coefficient) times the s.d. of the feature over the rows given.

        That is the mean of ``|d fixed / d x|`` times the s.d. of x on the scale of the linear predictor.
        """
        self._check_fitted()
        frames = [
            pd.DataFrame(
                {
                    "seed": key[0],
                    "fold": key[1],
                    "feature": self.feature_names_,
                    "importance": np.abs(self.betas_[i, 1:]) * data.X[np.asarray(rows[key])].std(0),
                }
            )
            for key, i in zip(rows, self._positions(rows), strict=True)
        ]
        return pd.concat(frames, ignore_index=True)

    @property
    def _terms(self) -> list[str]:
        """Feature of each random effect, "" for the intercept."""
        return ["", *(self.feature_names_[j] for j in self.slopes_)]

    def _keyed(self, table: pd.DataFrame) -> pd.DataFrame:
        """Replace the column `replica` by seed and fold."""
        keys = np.array(self.replicas_).reshape(-1, 2)[table["replica"]]
        table.insert(0, "seed", keys[:, 0])
        table.insert(1, "fold", keys[:, 1])
        return table.drop(columns="replica")

    def _outputs(self, data, keys, rows, clusters):
        outputs = []
        for i, r, membership in zip(self._positions(keys), rows, clusters, strict=True):
            X = data.X[r]
            linear = self.betas_[i, 0] + X @ self.betas_[i, 1:]
            effects = cluster_effects(self.effects_[i], membership)
            random = effects[:, 0] + (X[:, self.slopes_] * effects[:, 1:]).sum(1)
            outputs.append((self._link(linear)[:, None], self._link(linear + random)[:, None]))
        return outputs

    def _check(self, data):
        problems = Problems(ConfigError, f"the settings of {type(self).__name__}")
        self.slopes_ = _slopes(self.slopes, data.feature_names, problems)
        problems.raise_if_any()
        super()._check(data)

    def _save(self, folder):
        state = {name: getattr(self, name) for name in STATE}
        np.savez(folder / "estimates.npz", slopes_=np.array(self.slopes_, dtype=np.int64), **state)

    def _load(self, folder):
        found = read_arrays(folder / "estimates.npz", MOST_ESTIMATES)
        self.slopes_ = [int(j) for j in found["slopes_"]]
        for name in STATE:
            setattr(self, name, found[name])


def _slopes(slopes: str | Sequence[str] | None, names: tuple[str, ...], problems: Problems) -> list[int]:
    """Positions of the features with random slopes, ascending."""
    if slopes is None:
        return []
    if isinstance(slopes, str):
        if slopes != "all":
            hint = f"; write ['{slopes}'] for that feature" if slopes in names else did_you_mean(slopes, ("all",))
            problems.add(f"slopes is '{slopes}'; expected 'all', a list of feature names, or null{hint}")
        return list(range(len(names)))
    for slope in slopes:
        if slope not in names:
            problems.add(
                f"slopes names '{slope}', which is no feature.{did_you_mean(slope, names)} Features: {', '.join(names)}"
            )
    return [j for j, name in enumerate(names) if name in slopes]
