"""What the scikit-learn estimators are made of: ARMED around any network, samples held out, and checks before training."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Mapping, Sequence
from numbers import Integral, Real

import numpy as np
import pandas as pd
import torch
from torch import nn

from armed.cluster_inference import ClusterInference
from armed.data.clustered import ClusteredData
from armed.data.splits import Fold, Splits
from armed.data.subjects import OUTCOME_BINS
from armed.engines import ENGINES
from armed.errors import ArmedError, ConfigError, Problems, did_you_mean
from armed.layers.adversary import Adversary
from armed.layers.random_effects import RandomIntercept, RandomSlopes
from armed.methods import ARMED
from armed.models import MixedEffects
from armed.reproducibility import derive_seed

log = logging.getLogger(__name__)

# Parameters of an estimator that the method takes as they are.
METHOD_SETTINGS = (
    *("net", "slopes", "intercept", "adversary_units", "adversary_on", "lambda_F", "lambda_g", "lambda_K"),
    *("device", "engine", "slope_prior_sd", "intercept_prior_sd", "slope_init_scale", "intercept_init_scale"),
)
# Parameters that the Z-predictor may have of its own.
INFERENCE_SETTINGS = ("hidden", "epochs", "batch_size", "learning_rate", "validation_fraction", "patience")
# The Z-predictor always stops early: trained to the end it is overconfident, and soft Z becomes a hard guess.
INFERENCE_PATIENCE = 20

_UNITS = ("hidden", "adversary_units")
_WHOLE = ("epochs", "batch_size", "patience")
_POSITIVE = ("learning_rate", "slope_prior_sd", "intercept_prior_sd")
_NOT_NEGATIVE = ("lambda_F", "lambda_g", "lambda_K", "slope_init_scale", "intercept_init_scale")
_OPTIONAL = ("adversary_units", "patience")


class TabularARMED(ARMED):
    """ARMED around a network of the user's, with each part of the model optional.

    Parameters
    ----------
    net : torch.nn.Module or callable, optional
        See `ArmedClassifier`.
    intercept : bool
    adversary_on : sequence of str, optional
        See `ArmedClassifier`.
    """

    def __init__(self, *, net=None, intercept: bool = True, adversary_on=None, **settings: object) -> None:
        super().__init__(**settings)
        self.net = net
        self.intercept = intercept
        self.adversary_on = adversary_on

    def build(self, sample_shape, n_clusters, n_outputs):
        (n_features,) = sample_shape
        if isinstance(self.net, nn.Module):
            net = copy.deepcopy(self.net)
        elif self.net is not None:
            net = self.net(n_features=n_features, n_outputs=n_outputs)
        else:
            net = self.build_net(sample_shape, n_outputs)
        if n_clusters == 1:  # nothing varies between clusters: no random effects, and nothing for an adversary to tell
            return MixedEffects(net, 1, input_shape=(n_features,))
        effects = []
        if self.slopes is not None:
            effects.append(RandomSlopes(self.slopes, self.slope_init_scale, self.slope_prior_sd))
        if self.intercept:
            effects.append(RandomIntercept(self.intercept_init_scale, self.intercept_prior_sd))
        on = self.adversary_on
        if on is None:
            on = [] if self.net is not None else net.hidden_names
        reads = self.adversary_units is not None and self.lambda_g > 0 and len(on) > 0
        adversary = Adversary(on, self.adversary_units) if reads else None
        return MixedEffects(net, n_clusters, effects, adversary, input_shape=(n_features,))

    def fit(self, data, splits, seeds=None, *, checkpoint=None, assign=None):
        super().fit(data, splits, seeds, checkpoint=checkpoint, assign=assign)
        if self.notes_:
            raise ArmedError(
                "The training diverged (a weight or the loss is not finite). Standardise X, or lower learning_rate "
                f"({self.training.get('learning_rate')}) or lambda_g ({self.lambda_g})."
            )
        return self


def fit_cluster_inference(settings: Mapping[str, object], data: ClusteredData, fold: Fold) -> ClusterInference | None:
    """Fit the Z-predictor as an estimator's parameters say; None where it is not wanted, or there is one cluster."""
    infer = settings["infer_clusters"]
    if not (isinstance(infer, Mapping) or infer) or len(data.levels) == 1:
        return None
    own = {name: settings[name] for name in INFERENCE_SETTINGS} | dict(infer if isinstance(infer, Mapping) else {})
    own["patience"] = INFERENCE_PATIENCE if own["patience"] is None else own["patience"]
    common = schedule(own, len(fold.train)) | {name: settings[name] for name in ("device", "engine")}
    return ClusterInference(validation_fraction=own["validation_fraction"], **common).fit(data, Splits((fold,)))


def hold_out(data: ClusteredData, fraction: float, seed: int) -> Fold:
    """All rows as one fold without test rows; some held out for validation.

    Parameters
    ----------
    data : ClusteredData
    fraction : float
        Share of the rows held out, stratified by label (quartile of a continuous one) x cluster. Rows of a label or cluster
        that would be left without any in training are not held out.
    seed : int
        Seed of the fold.
    """
    held = np.zeros(len(data), dtype=bool)
    if fraction:
        rng = np.random.default_rng(derive_seed("validation", "", seed))
        label, cluster = data.y, data.codes(data.levels)
        if not data.is_classification:
            cuts = np.quantile(label, np.arange(1, OUTCOME_BINS) / OUTCOME_BINS)
            label = np.searchsorted(cuts, label, side="right")
        order = np.lexsort((rng.random(len(data)), cluster, label))
        steps = np.floor(np.arange(len(data) + 1) * fraction + rng.random())
        held[order[np.diff(steps) > 0]] = True
        for group in (label, cluster):
            held &= (np.bincount(group[~held], minlength=group.max() + 1) > 0)[group]
        if not held.any():
            log.info("Too few samples to hold some out for early stopping: all epochs are run.")
    rows = np.arange(len(data))
    return Fold(seed, 0, rows[~held], rows[held], rows[:0])


def schedule(settings: Mapping[str, object], n_train: int) -> dict[str, dict]:
    """Arguments ``network`` and ``training`` of a stack method for an estimator's parameters.

    Batches are no larger than the `n_train` training rows: the engine would fill a larger one with repeats of some rows.
    """
    patience = settings["patience"]
    training = {
        "epochs": int(settings["epochs"]),
        "batch_size": min(int(settings["batch_size"]), n_train),
        "learning_rate": float(settings["learning_rate"]),
        "patience": None if patience is None else int(patience),
    }
    return {"network": {"hidden": tuple(int(u) for u in settings["hidden"])}, "training": training}


def check_settings(settings: Mapping[str, object]) -> None:
    """Check an estimator's parameters.

    Raises
    ------
    ConfigError
        With all that are wrong.
    """
    problems = Problems(ConfigError, "the estimator's parameters")
    for name, value in settings.items():
        _check_setting(name, value, name, problems)
    infer = settings["infer_clusters"]
    if isinstance(infer, Mapping):
        for name, value in infer.items():
            if name in INFERENCE_SETTINGS:
                _check_setting(name, value, f"infer_clusters: {name}", problems)
            else:
                known, near = ", ".join(INFERENCE_SETTINGS), did_you_mean(name, INFERENCE_SETTINGS)
                problems.add(f"infer_clusters has no setting '{name}'.{near} Known: {known}")
    elif not isinstance(infer, bool | np.bool_):
        problems.add(f"infer_clusters is {infer!r}; expected True, False or a dict of settings")
    try:
        if torch.device(settings["device"]).type == "cuda" and not torch.cuda.is_available():
            problems.add(f"device is '{settings['device']}', but torch finds no CUDA device here; use 'cpu'")
    except (RuntimeError, TypeError):
        problems.add(f"device is {settings['device']!r}; expected 'cpu' or 'cuda'")
    if settings["engine"] not in ENGINES:
        near = did_you_mean(str(settings["engine"]), ENGINES)
        problems.add(f"engine is {settings['engine']!r}; expected one of {', '.join(ENGINES)}.{near}")
    problems.raise_if_any()


def _check_setting(name: str, value: object, shown: str, problems: Problems) -> None:
    if value is None and name in _OPTIONAL:
        return
    number = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    expected = None
    if name in _UNITS and not _are_units(value):
        expected = "units of each layer, such as (8, 4)"
    elif name in _WHOLE and not (isinstance(value, Integral) and number and value >= 1):
        expected = "a whole number of at least 1"
    elif name in _POSITIVE and not (number and value > 0):
        expected = "a number above 0"
    elif name in _NOT_NEGATIVE and not (number and value >= 0):
        expected = "a number of at least 0"
    elif name == "validation_fraction" and not (number and 0 < value < 1):
        expected = "a number between 0 and 1; patience=None holds nothing out"
    elif name == "intercept" and not isinstance(value, bool | np.bool_):
        expected = "True or False"
    elif name == "net" and value is not None and not callable(value):
        expected = "a torch.nn.Module, or a function that builds one"
    elif name == "slopes" and value is not None and not isinstance(value, str):
        expected = "'input', or the name of a layer"
    elif name == "adversary_on" and value is not None and not _are_names(value):
        expected = "names of layers"
    if expected:
        optional = ", or None" if name in (*_OPTIONAL, "net", "slopes", "adversary_on") else ""
        problems.add(f"{shown} is {value!r}; expected {expected}{optional}")


def check_samples(
    X: np.ndarray, clusters: object, feature_names: tuple[str, ...], problems: Problems, y: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Add the problems of samples; return their cluster labels as given, and as text.

    Parameters
    ----------
    X : array, shape (n, p)
    clusters : array-like, shape (n,)
    feature_names : tuple of str
    problems : Problems
    y : array, shape (n,), optional
        Checked for its length only.
    """
    labels = np.asarray(clusters)
    if labels.ndim != 1:
        problems.add(f"clusters has shape {labels.shape}; expected one label for each of the {len(X)} samples")
        labels = np.zeros(0, str)
    elif len({len(X), len(labels), len(X) if y is None else len(y)}) > 1:
        others = "" if y is None else f", y {len(y)}"
        problems.add(
            f"the lengths differ: X {len(X)}{others}, clusters {len(labels)}; expected one entry per sample in each"
        )
    for kind, mask in (("NaN", np.isnan(X)), ("infinite", np.isinf(X))):
        if mask.any():
            found = ", ".join(f"{feature_names[j]} ({k})" for j, k in enumerate(mask.sum(0)) if k)
            problems.add(f"X has {kind} values in: {found}; impute or remove them first")
    missing = int(pd.isna(labels).sum())
    if missing:
        problems.add(f"clusters is missing for {missing} samples; expected a label for each")
    elif len({isinstance(label, str) for label in labels}) > 1:
        problems.add("clusters has labels of type str and of other types; expected labels of one type")
    return labels, np.array([_text(label) for label in labels], dtype=np.str_)


def check_network(method: TabularARMED, n_features: int, n_outputs: int) -> None:
    """Build the model once, to find what is wrong with its network before training.

    Raises
    ------
    LayerNotFoundError
        If a layer named does not exist.
    ConfigError
        If the network is not a module, cannot take X, or has another number of outputs.
    """
    with torch.random.fork_rng(devices=[]):
        try:
            # With two clusters: layer names are looked up even where one cluster would need none.
            model = method.build((n_features,), 2, n_outputs)
        except (RuntimeError, TypeError, AttributeError) as error:
            raise ConfigError(
                f"net cannot be used for X with {n_features} features: {error}. Expected a torch.nn.Module from X "
                f"(n, {n_features}) to (n, {n_outputs}), or a function net(n_features=..., n_outputs=...) that builds one."
            ) from error
        with torch.no_grad():
            found = model.eval()(torch.zeros(2, n_features, device=next(model.parameters()).device)).fixed.shape[1]
    if (
        method.net is not None
        and method.adversary_units is not None
        and method.lambda_g > 0
        and not method.adversary_on
    ):
        log.warning("There is no adversary on the network given: adversary_on names none of its layers.")
    if found != n_outputs:
        raise ConfigError(f"net has {found} outputs for each sample; expected {n_outputs} for these labels.")


def _are_units(units: object) -> bool:
    sized = isinstance(units, Sequence | np.ndarray) and not isinstance(units, str)
    return sized and all(isinstance(u, Integral) and not isinstance(u, bool) and u > 0 for u in units)


def _are_names(names: object) -> bool:
    return isinstance(names, str) or (isinstance(names, Sequence) and all(isinstance(n, str) for n in names))


def _text(label: object) -> str:
    """Whole floats read as integers: a column of ids becomes float where a label elsewhere was missing."""
    return str(int(label)) if isinstance(label, float | np.floating) and float(label).is_integer() else str(label)
