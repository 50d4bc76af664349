"""What each of the authors' choices that their paper does not make is worth: toggled one at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from armed.intervals import Estimate, Values, t_interval
from armed.metrics import LOWER_IS_BETTER
from armed.sensitivity import PROBE_WINS, measured
from armed.statistics import Settings, estimate
from armed.sweep_config import AVERAGED, IMPORTANCE, MEAN_POINT, swept_models
from armed.sweep_config import STUDY as SWEPT

MAIN = "main"
COLUMNS = (
    *("choice", "study", "source", "model", "metric", "difference", "ci_low", "ci_high", "p"),
    *("sd_authors", "sd_other", "n_seeds", "unit"),
)
PARTITION = "seen"


class Choice(NamedTuple):
    """A choice of the authors.

    Attributes
    ----------
    says : str
        The authors' way, for readers.
    study : str
    models : tuple of str
    authors, other : str
        Variants that are fitted in the authors' way, and in the other.
    """

    says: str
    study: str
    models: tuple[str, ...]
    authors: str
    other: str


CHOICES: dict[str, Choice] = {
    "shared_init": Choice(
        "One initialisation for all folds", "spirals_radius", ("conventional", "armed"), "shared_init", MAIN
    ),
    "reference_protocol": Choice(
        "Early stopping by the test fold", "mci_conversion", ("conventional", "armed"), "reference_protocol", MAIN
    ),
    "label_defect": Choice("Labels of other samples", "spirals_radius", ("mldg",), "label_defect", MAIN),
    "first_order": Choice("First order", "spirals_radius", ("mldg",), "first_order", MAIN),
    "half_kl": Choice("KL counted half", "spirals_radius", ("armed",), "half_kl", MAIN),
    "lambda_F": Choice("No fixed effects loss", "spirals_radius", ("armed_no_adversary",), MAIN, "lambda_F1"),
}
IMPORTANCE_SAYS = "Importance at the mean point"
NOT_OFFERED = (
    "The adversary's loss added in place of subtracted (code of the MRI classifier and the autoencoder)",
    "random effects added to a probability in place of the logit",
)
"""Choices that cannot be expressed here, for readers."""


def worth(
    metrics: pd.DataFrame, sensitivity: pd.DataFrame, headline: Mapping[str, str], settings: Settings
) -> pd.DataFrame:
    """What each choice changes, on seen clusters.

    Parameters
    ----------
    metrics : pandas.DataFrame
        `metrics.tsv`.
    sensitivity : pandas.DataFrame
        `sensitivity.tsv`: of importance at the mean point; may be empty.
    headline : mapping of str to str
        Study to its first metric.
    settings : Settings
        Of the intervals, which are those of paired tests: seeds x folds of one dataset with the corrected resampled t.

    Returns
    -------
    pandas.DataFrame
        `COLUMNS`: difference is the authors' way minus the other on the same seeds and folds; `sd_*` the s.d. over seeds of
        the mean over folds, one way and the other. Of importance: the share of datasets in which a probe wins, with
        Student's t over datasets, and no s.d.; `unit` tells what the seeds are.
    """
    lines = []
    for name, choice in CHOICES.items():
        rows = metrics[(metrics["study"] == choice.study) & (metrics["partition"] == PARTITION)]
        rows = rows[rows["metric"] == headline.get(choice.study)]
        for model in choice.models:
            own = rows[rows["model"] == model]
            authors, other = (Values.of(own[own["variant"] == variant]) for variant in (choice.authors, choice.other))
            pairs = authors.minus(other)
            if not len(pairs.value):
                continue
            found = estimate(pairs, choice.study, MAIN, PARTITION, None, settings)
            kind = "dataset" if settings.is_resampled(choice.study, MAIN) else "seed"
            names = (name, choice.study, own["source"].iloc[0], model, headline[choice.study])
            lines.append((*names, *_inside(found), _sd(authors), _sd(other), len(np.unique(pairs.seed)), kind))
    return pd.DataFrame(lines + _of_importance(sensitivity, settings), columns=list(COLUMNS))


def _inside(found: Estimate) -> Estimate:
    """Differences of shares and of metrics from 0 to 1 end at -1 and 1."""
    low, high = (float(np.clip(bound, -1, 1)) for bound in (found.ci_low, found.ci_high))
    return found._replace(ci_low=low, ci_high=high)


def _sd(values: Values) -> float:
    _, means, _ = values.by_seed()
    return float(means.std(ddof=1)) if len(means) > 1 else np.nan


def _of_importance(sensitivity: pd.DataFrame, settings: Settings) -> list[tuple]:
    rows, lines = measured(sensitivity, (IMPORTANCE,)), []
    for model, of_model in rows[rows["measure"] == PROBE_WINS].groupby("model", sort=False):
        wins = of_model.pivot(index="seed", columns="level", values="value")
        if not {AVERAGED, MEAN_POINT} <= set(wins):
            continue
        pairs = (wins[MEAN_POINT] - wins[AVERAGED]).dropna().to_numpy()
        found = _inside(t_interval(pairs, settings.confidence))
        source = sensitivity.loc[sensitivity["factor"] == IMPORTANCE, "source"].iloc[0]
        lines.append(("importance", SWEPT, source, model, PROBE_WINS, *found, np.nan, np.nan, len(pairs), "dataset"))
    return lines


def says(choice: str) -> str:
    """The authors' way, for readers."""
    return CHOICES[choice].says if choice in CHOICES else IMPORTANCE_SAYS


def lower_is_better(metric: str) -> bool:
    """Of a metric, or of the share in which a probe wins."""
    return metric == PROBE_WINS or metric in LOWER_IS_BETTER


def offered(config: Mapping) -> list[str]:
    """Choices that a configuration asks for: study, model and both variants are selected."""
    found = []
    for name, choice in CHOICES.items():
        if choice.study not in config["run"]["studies"]:
            continue
        block = config["studies"][choice.study]
        for model in [m for m in choice.models if m in config["run"]["models"]]:
            given = {MAIN, *(v for v, change in block["variants"].get(model, {}).items() if change is not None)}
            given |= {name for name in ("reference_protocol",) if block["data"].get(name)}
            if {choice.authors, choice.other} <= given and name not in found:
                found.append(name)
    return found + ["importance"] * bool(swept_models(config))
