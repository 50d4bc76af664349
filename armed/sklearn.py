"""ARMED as scikit-learn estimators for tables: `ArmedClassifier` and `ArmedRegressor`.

They train through `armed.methods.ARMED`, one model per `fit`. Cluster labels are an argument of `fit`, `predict` and `score`,
and reach them inside pipelines and searches by scikit-learn's metadata routing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import expit, softmax
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data
from torch import nn

from armed import tabular
from armed.data.clustered import ClusteredData, default_names
from armed.data.splits import Splits
from armed.errors import ConfigError, DataError, Problems, did_you_mean
from armed.method import NEW_CLUSTERS
from armed.tabular import TabularARMED

log = logging.getLogger(__name__)

ONE_CLUSTER = "all"  # the cluster of every sample where none are given in fit
NOT_GIVEN = "\x00not given"  # stands for no label at prediction; no label of a user can equal it
EFFECT_COLUMNS = ["cluster", "effect", "feature", "mean", "sd"]


class _ArmedEstimator(BaseEstimator):
    """What the classifier and the regressor share; parameters as in `ArmedClassifier`."""

    def __init__(
        self,
        hidden: Sequence[int] = (16, 16),
        *,
        net: nn.Module | Callable[..., nn.Module] | None = None,
        slopes: str | None = "input",
        intercept: bool = True,
        adversary_units: Sequence[int] | None = (8, 8, 4),
        adversary_on: str | Sequence[str] | None = None,
        lambda_F: float = 1.0,
        lambda_g: float = 0.5,
        lambda_K: float = 1e-3,
        slope_prior_sd: float = 0.15,
        intercept_prior_sd: float = 0.1,
        slope_init_scale: float = 0.1,
        intercept_init_scale: float = 0.1,
        epochs: int = 200,
        batch_size: int = 32,
        learning_rate: float = 3e-3,
        validation_fraction: float = 0.1,
        patience: int | None = 20,
        infer_clusters: bool | Mapping = True,
        random_state: int | np.random.RandomState | None = None,
        device: str = "cpu",
        engine: str = "eager",
    ) -> None:
        self.hidden = hidden
        self.net = net
        self.slopes = slopes
        self.intercept = intercept
        self.adversary_units = adversary_units
        self.adversary_on = adversary_on
        self.lambda_F = lambda_F
        self.lambda_g = lambda_g
        self.lambda_K = lambda_K
        self.slope_prior_sd = slope_prior_sd
        self.intercept_prior_sd = intercept_prior_sd
        self.slope_init_scale = slope_init_scale
        self.intercept_init_scale = intercept_init_scale
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.infer_clusters = infer_clusters
        self.random_state = random_state
        self.device = device
        self.engine = engine

    def fit(self, X: ArrayLike, y: ArrayLike, clusters: ArrayLike | None = None) -> Self:
        """Train the model, and the Z-predictor for unseen clusters (unless `infer_clusters` is False).

        Parameters
        ----------
        X : array-like, shape (n, p)
            Features, without missing values; standardise them first (as in a pipeline with `StandardScaler`).
        y : array-like, shape (n,)
        clusters : array-like, shape (n,), optional
            Cluster label of each sample: strings or numbers. Where not given, all samples are one cluster; then there are
            no random effects and no adversary.

        Returns
        -------
        self

        Raises
        ------
        ConfigError, LayerNotFoundError
            If a parameter is not valid; all wrong parameters are told at once, before any training.
        DataError
            If the data cannot be used; all problems of its values are told at once, before any training.
        """
        tabular.check_settings(self.get_params())
        data, labels = self._training_data(X, y, clusters)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        fold = tabular.hold_out(data, 0.0 if self.patience is None else self.validation_fraction, seed)
        settings = {name: getattr(self, name) for name in tabular.METHOD_SETTINGS}
        settings |= tabular.schedule(self.get_params(), len(fold.train))
        method = TabularARMED(**settings, label=self._label())
        tabular.check_network(method, self.n_features_in_, len(self.classes_) if method.label == "multiclass" else 1)
        self.method_ = method.fit(data, Splits((fold,)))
        self._finish(data)
        self.history_ = method.history_.drop(columns=["seed", "fold"])
        self.cluster_inference_ = tabular.fit_cluster_inference(self.get_params(), data, fold)
        self.random_effects_ = self._effects(labels)
        return self

    def _training_data(self, X: ArrayLike, y: ArrayLike, clusters: ArrayLike | None) -> tuple[ClusteredData, dict]:
        """The data checked and encoded, and cluster labels as given by their text."""
        check = {"dtype": np.float64, "ensure_all_finite": False, "ensure_min_samples": 2}
        X = validate_data(self, X, y, **check) if y is None else validate_data(self, X, **check)
        y = column_or_1d(y, warn=True)
        if clusters is None:
            log.info("%s.fit got no clusters: all samples are treated as one cluster.", type(self).__name__)
            clusters = np.full(len(X), ONE_CLUSTER)
        problems = Problems(DataError, "the training data")
        labels, names = tabular.check_samples(X, clusters, self._feature_names(), problems, y=y)
        coded = self._encode(y, problems)
        problems.raise_if_any()
        self.clusters_ = np.unique(labels)
        X = np.require(X, requirements="W")  # torch warns of read-only arrays
        data = ClusteredData(X, coded, names, feature_names=self._feature_names())
        return data, dict(zip(names, labels, strict=True))

    def _mixed(self, X: ArrayLike, clusters: ArrayLike | None, new_clusters: str) -> np.ndarray:
        """Mixed effects logits or means (n,) or (n, K)."""
        check_is_fitted(self, "method_")
        X = validate_data(self, X, reset=False, dtype=np.float64, ensure_all_finite=False)
        problems = Problems(DataError, "the samples to predict")
        if new_clusters not in NEW_CLUSTERS:
            known = f"{', '.join(NEW_CLUSTERS)}.{did_you_mean(new_clusters, NEW_CLUSTERS)}"
            problems.add(f"new_clusters is {new_clusters!r}; expected one of {known}")
        given = np.full(len(X), NOT_GIVEN) if clusters is None else clusters
        _, names = tabular.check_samples(X, given, self._feature_names(), problems)
        problems.raise_if_any()
        if new_clusters == "error" and clusters is None:
            new_clusters = "population"
        if new_clusters == "infer" and self.cluster_inference_ is None:
            if len(self.clusters_) > 1:
                raise ConfigError("new_clusters='infer' needs the Z-predictor; fit with infer_clusters=True.")
            new_clusters = "population"  # the same: there are no random effects
        X = np.require(X, requirements="W")
        data = ClusteredData(X, np.zeros(len(X), int), names, feature_names=self._feature_names())
        out = self.method_.predict(data, new_clusters=new_clusters, cluster_inference=self.cluster_inference_)
        return out.mixed.astype(np.float64)

    def _effects(self, labels: Mapping[str, object]) -> pd.DataFrame:
        table = self.method_.random_effects_
        if table is None:
            return pd.DataFrame(columns=EFFECT_COLUMNS)
        table["cluster"] = np.array([labels[name] for name in table["cluster"]], dtype=self.clusters_.dtype)
        return table[EFFECT_COLUMNS].sort_values("cluster", kind="stable", ignore_index=True)

    def _finish(self, data: ClusteredData) -> None:
        """What else is learned from the training data once the model is trained."""

    def _feature_names(self) -> tuple[str, ...]:
        names = getattr(self, "feature_names_in_", None)
        return tuple(names) if names is not None else default_names(np.empty((0, self.n_features_in_)))


class ArmedClassifier(ClassifierMixin, _ArmedEstimator):
    """Mixed effects deep learning classifier for clustered tables, binary and multiclass (paper, Methods).

    Parameters
    ----------
    hidden : sequence of int
        ReLU units of each hidden layer of the network, and of the Z-predictor; () for a linear model.
    net : torch.nn.Module or callable, optional
        A network of your own instead: a module from X (n, p) to one logit (binary) or K logits (K classes), whose weights are
        where training starts (it is copied, not changed); or a function called as ``net(n_features=p, n_outputs=K)`` that
        builds one. Give a function of a module's, not a lambda, where the estimator is to be pickled.
    slopes : str or None
        Random slopes on ``"input"`` (linear), or on a layer of the network by its name, such as ``"hidden.1"`` (nonlinear).
    intercept : bool
        Whether there is a random intercept.
    adversary_units : sequence of int or None
        Hidden units of the adversary; None for no adversary (nor is there one with ``lambda_g=0``).
    adversary_on : str or sequence of str, optional
        Layers that the adversary reads; all hidden layers where not given. Needed with `net`: there is no adversary on a
        network of your own unless you name its layers.
    lambda_F, lambda_g, lambda_K : float
        Weights of the loss of the fixed effects alone, of the adversary and of the KL divergence.
    slope_prior_sd, intercept_prior_sd : float
        S.d. of the priors of the random effects.
    slope_init_scale, intercept_init_scale : float
        S.d. of the initial posterior means.
    epochs, batch_size : int
        Passes over the data, at most, and samples of a batch.
    learning_rate : float
    validation_fraction : float
        Share of the samples given to `fit`, stratified by label x cluster, that is held out for early stopping.
    patience : int or None
        Stop after so many epochs without a lower validation loss and keep the best weights. None: hold nothing out, run all
        epochs.
    infer_clusters : bool or dict
        Whether `fit` also trains the Z-predictor that ``new_clusters="infer"`` needs (it cannot be trained later: the
        estimator keeps no training data). A dict changes its settings from those above: hidden, epochs, batch_size,
        learning_rate, patience, validation_fraction.
    random_state : int, RandomState or None
        Fixes the samples held out, the initial weights, the shuffling and the posterior noise; the same integer gives the same
        model. None takes a seed from NumPy's global generator, as elsewhere in scikit-learn.
    device : {"cpu", "cuda"}
    engine : {"eager", "compiled", "auto"}
        See `armed.fit_stack`. Compiling takes 10 to 20 s for each network (once), and long fits are then many times faster.

    Attributes
    ----------
    classes_ : array, shape (K,)
    clusters_ : array, shape (q,)
        Seen clusters, of the type they were given in.
    random_effects_ : DataFrame
        cluster, effect ("intercept" or "slope"), feature ("" for the intercept, with K classes followed by "->k"), and mean
        and sd of the posterior, in logits; empty where there is one cluster.
    history_ : DataFrame
        epoch, loss, validation, kept.
    n_features_in_ : int
    feature_names_in_ : array of str
        Only where X had column names.

    Notes
    -----
    Predictions without ``clusters`` are the population's, that is the fixed effects alone, for all samples (unless
    ``new_clusters="infer"``: then Z is inferred for all). An estimator fitted without ``clusters`` treats all samples as one
    cluster, and its fixed effects are the whole model.

    The prior s.d., initial scales, adversary and lambda_K are those of the paper's one study of a table, the dementia
    prognosis; lambda_g is that of its simulations (5 for dementia, tuned there). The network and its schedule are not the
    paper's: its learning rate of 1e-3 for at most 50 epochs underfits small tables (iris: accuracy 0.65, here 0.95).

    Within `cross_val_score` and the like, `score` receives clusters if asked to (``set_score_request(clusters=True)``).
    scikit-learn's named scorers do not hand them on to predictions: with ``scoring="roc_auc"`` the population's predictions
    are scored. Nor does a search's own `predict` take clusters: use its ``best_estimator_``.

    Examples
    --------
    >>> import numpy as np
    >>> from armed.sklearn import ArmedClassifier
    >>> rng = np.random.default_rng(0)
    >>> site = np.repeat(["Aachen", "Bern", "Cork"], 60)
    >>> X = rng.normal(size=(180, 2))
    >>> slope = np.repeat([2.0, 1.0, -1.0], 60)
    >>> y = np.where(slope * X[:, 0] + X[:, 1] > 0, "ill", "well")
    >>> model = ArmedClassifier(hidden=(8,), slope_prior_sd=2.0, epochs=30, learning_rate=0.03, random_state=0)
    >>> model = model.fit(X, y, clusters=site)
    >>> bool(model.score(X, y, clusters=site) > model.score(X, y))
    True
    >>> model.predict_proba(X[:4], clusters=["Dublin"] * 4, new_clusters="infer").shape
    (4, 2)
    >>> model.random_effects_.loc[:1, ["cluster", "effect", "feature"]]
      cluster effect feature
    0  Aachen  slope      x1
    1  Aachen  slope      x2
    """

    def decision_function(self, X: ArrayLike, clusters: ArrayLike | None = None, new_clusters: str = "error"):
        """Mixed effects logits.

        Parameters
        ----------
        X : array-like, shape (n, p)
        clusters : array-like, shape (n,), optional
            Cluster labels; the population's prediction for all samples where not given.
        new_clusters : {"error", "infer", "population"}
            For samples of clusters never seen in training: refuse; blend the random effects of the seen clusters by a
            membership inferred from X; or predict by the fixed effects alone.

        Returns
        -------
        array, shape (n,) for two classes, (n, K) for K classes

        Raises
        ------
        DataError
            If the samples or the choice of `new_clusters` cannot be used.
        UnseenClusterError
            If there are unseen clusters and `new_clusters` is "error".
        """
        return self._mixed(X, clusters, new_clusters)

    def predict_proba(self, X: ArrayLike, clusters: ArrayLike | None = None, new_clusters: str = "error"):
        """Probabilities (n, K) of `classes_`; arguments as for `decision_function`."""
        logits = self._mixed(X, clusters, new_clusters)
        return softmax(logits, axis=1) if logits.ndim == 2 else np.column_stack([expit(-logits), expit(logits)])

    def predict(self, X: ArrayLike, clusters: ArrayLike | None = None, new_clusters: str = "error"):
        """Most probable class (n,); arguments as for `decision_function`."""
        logits = self._mixed(X, clusters, new_clusters)
        return self.classes_[logits.argmax(1) if logits.ndim == 2 else (logits > 0).astype(int)]

    def score(self, X, y, sample_weight=None, clusters: ArrayLike | None = None, new_clusters: str = "error") -> float:
        """Accuracy; arguments as for `decision_function`."""
        return accuracy_score(y, self.predict(X, clusters, new_clusters), sample_weight=sample_weight)

    def _label(self) -> str:
        return "binary" if len(self.classes_) == 2 else "multiclass"

    def _encode(self, y: np.ndarray, problems: Problems) -> np.ndarray | None:
        bad = int((~np.isfinite(y) if y.dtype.kind == "f" else pd.isna(y)).sum())
        if bad:
            problems.add(f"y is NaN or infinite in {bad} samples; leave them out")
            return None
        check_classification_targets(y)
        self.classes_, coded = np.unique(y, return_inverse=True)
        if len(self.classes_) == 1:
            problems.add(f"y has one class only ({self.classes_[0]!s} in all {len(y)} samples); expected at least two")
        return coded


class ArmedRegressor(RegressorMixin, _ArmedEstimator):
    """Mixed effects deep learning regressor for clustered tables (paper, Methods, with a Gaussian loss).

    y is standardised inside, so that loss weights, prior s.d. and initial scales mean the same whatever its unit; predictions
    and random effects come back in the unit of y. The residual s.d. of the loss is fixed at the s.d. of y: another one
    would be the same as multiplying `lambda_g` and `lambda_K` by its square.

    Parameters
    ----------
    hidden, net, slopes, intercept, adversary_units, adversary_on, lambda_F, lambda_g, lambda_K, slope_prior_sd, \
intercept_prior_sd, slope_init_scale, intercept_init_scale, epochs, batch_size, learning_rate, validation_fraction, patience, \
infer_clusters, random_state, device, engine
        As in `ArmedClassifier`; s.d. and scales in units of the s.d. of y; `net` gives one mean.

    Attributes
    ----------
    clusters_, random_effects_, history_, n_features_in_, feature_names_in_
        As in `ArmedClassifier`; random effects in the unit of y, losses with y standardised.
    y_mean_, y_scale_ : float
        Mean and s.d. of the y given to `fit`.
    residual_sd_ : float
        Root mean square residual of the training samples about the mixed effects prediction, in the unit of y.

    Examples
    --------
    >>> import numpy as np
    >>> from armed.sklearn import ArmedRegressor
    >>> rng = np.random.default_rng(0)
    >>> school = np.repeat([1, 2, 3], 60)
    >>> X = rng.normal(size=(180, 1))
    >>> y = 100 + 10 * X[:, 0] + 10 * school + rng.normal(size=180)
    >>> model = ArmedRegressor(hidden=(), slopes=None, intercept_prior_sd=1.0, epochs=40, learning_rate=0.03, random_state=0)
    >>> model = model.fit(X, y, clusters=school)
    >>> model.random_effects_["mean"].is_monotonic_increasing
    True
    >>> bool(model.score(X, y, clusters=school) > 0.9)
    True
    """

    def predict(self, X: ArrayLike, clusters: ArrayLike | None = None, new_clusters: str = "error") -> np.ndarray:
        """Mixed effects means (n,) in the unit of y; arguments as for `ArmedClassifier.decision_function`."""
        mixed = self._mixed(X, clusters, new_clusters)
        return self.y_mean_ + self.y_scale_ * mixed

    def score(self, X, y, sample_weight=None, clusters: ArrayLike | None = None, new_clusters: str = "error") -> float:
        """R squared; arguments as for `predict`."""
        return r2_score(y, self.predict(X, clusters, new_clusters), sample_weight=sample_weight)

    def _label(self) -> str:
        return "continuous"

    def _finish(self, data: ClusteredData) -> None:
        residuals = data.y - self.method_.predict(data).mixed
        self.residual_sd_ = float(self.y_scale_ * np.sqrt(np.mean(residuals**2)))

    def _effects(self, labels: Mapping[str, object]) -> pd.DataFrame:
        table = super()._effects(labels)
        return table.assign(mean=table["mean"] * self.y_scale_, sd=table["sd"] * self.y_scale_)

    def _encode(self, y: np.ndarray, problems: Problems) -> np.ndarray | None:
        y = np.asarray(y, dtype=np.float64)
        bad = int((~np.isfinite(y)).sum())
        if bad:
            problems.add(f"y is NaN or infinite in {bad} samples; leave them out")
            return None
        self.y_mean_, self.y_scale_ = float(y.mean()), float(y.std())
        if self.y_scale_ == 0:
            problems.add(f"y is {y[0]:g} in every sample; expected an outcome that varies")
            return None
        return (y - self.y_mean_) / self.y_scale_
