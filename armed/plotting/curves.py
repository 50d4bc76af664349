"""How binary predictions rank and how well their probabilities hold: ROC and calibration curves, seen beside unseen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.special import expit

from armed import labels
from armed.associations import wilson
from armed.cells import Cells
from armed.errors import DataError
from armed.metrics import compute
from armed.plotting import style

COLUMNS_READ = ("variant", "partition", "seed", "fold", "sample_id", "y_true", "mixed")
"""Columns of the predictions that the curves need."""
PANELS = ("seen", "unseen")
BINS = 10
COLUMNS = 4  # small multiples beside one another
_GRID = np.linspace(0.0, 1.0, 201)
_MARKS = {"seen": (style.BLUE, "o"), "unseen": (style.VERMILLION, "s")}
_FOREMOST = ("conventional", "armed")  # the question of the paper, drawn over the others


class Calibration(NamedTuple):
    """Bins of a calibration curve.

    Attributes
    ----------
    predicted, observed, low, high : numpy.ndarray, (bins,)
        Mean predicted probability, observed share of positives, and its Wilson interval.
    ece : float
        Expected calibration error of the predictions of a seed, mean over seeds.
    """

    predicted: np.ndarray
    observed: np.ndarray
    low: np.ndarray
    high: np.ndarray
    ece: float


def mean_roc(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Average the ROC curves of single fits: predictions of different ones need not be on one scale.

    Parameters
    ----------
    rows : pandas.DataFrame
        Predictions of one model and partition: seed, fold, y_true (0 or 1), mixed (logits).

    Returns
    -------
    fpr, tpr : numpy.ndarray
        False positive rates on a grid, and the mean over seeds of the means over folds of the true positive rates there
        (vertical average): the area below is the mean AUROC, but for the grid. Empty where no fit's rows have both classes.
    """
    of_seed: dict[int, list[np.ndarray]] = {}
    for (seed, _), own in rows.groupby(["seed", "fold"], sort=True):
        if (curve := _roc(own)) is not None:
            of_seed.setdefault(seed, []).append(curve)
    if not of_seed:
        return np.empty(0), np.empty(0)
    return np.r_[0.0, _GRID], np.r_[0.0, np.mean([np.mean(curves, axis=0) for curves in of_seed.values()], axis=0)]


def calibration(rows: pd.DataFrame, confidence: float = 0.95, bins: int = BINS) -> Calibration:
    """Compare predicted probabilities with what was observed, in bins of equally many predictions.

    Parameters
    ----------
    rows : pandas.DataFrame
        Predictions of one model and partition: seed, sample_id, y_true (0 or 1), mixed (logits). Folds and seeds are put
        together.
    confidence : float
        Of Wilson's interval. Its n counts each sample once, however many folds and seeds predict it.
    bins : int
        Fewer come out where many predictions are equal.

    Returns
    -------
    Calibration
    """
    p, y = expit(rows["mixed"].to_numpy(np.float64)), rows["y_true"].to_numpy(np.float64)
    edges = np.unique(np.quantile(p, np.linspace(0, 1, bins + 1)))
    which = np.clip(np.searchsorted(edges, p, side="right") - 1, 0, max(len(edges) - 2, 0))
    count = np.bincount(which)
    kept = count > 0
    predicted, observed = (np.bincount(which, v)[kept] / count[kept] for v in (p, y))
    times = rows.groupby("sample_id", observed=True)["y_true"].transform("size").to_numpy()
    n = np.bincount(which, 1.0 / times)[kept]
    bounds = [wilson(share * size, size, confidence) for share, size in zip(observed, n, strict=True)]
    low, high = np.array(bounds).T
    cell = pd.factorize(rows["seed"], sort=True)[0]
    cells = Cells.of(cell, y, rows["mixed"].to_numpy(np.float64), 0.5, cell.max() + 1)
    return Calibration(predicted, observed, low, high, float(np.mean(compute(cells, "ece")[0])))


@style.styled
def roc(predictions: Mapping[str, pd.DataFrame], summary: pd.DataFrame, study: str, source: str) -> Figure:
    """Draw the ROC curves of all models, seen beside unseen clusters.

    Parameters
    ----------
    predictions : mapping of str to pandas.DataFrame
        Per model the rows of one variant of `results/predictions/{study}/{model}.parquet`, columns `COLUMNS_READ`.
    summary : pandas.DataFrame
        `results/summary.tsv`: its AUROC stands in the legend.
    study, source : str

    Raises
    ------
    DataError
        If there are no predictions with finite logits.
    """
    found = _finite(predictions)
    panels = _panels(found)
    figure = style.new_figure(4.35 + 0.2 * -(-len(found) // 2))
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for ax, partition in zip(axes, panels, strict=True):
        ax.plot([0, 1], [0, 1], color="#aaaaaa", linewidth=1, zorder=1)
        for model, rows in found.items():
            fpr, tpr = mean_roc(rows[rows["partition"] == partition])
            ax.plot(fpr, tpr, **_line(model))
        ax.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), xlabel="1 − specificity")
        ax.set_title(_capital(labels.partition(partition)), loc="left")
        ax.grid()
    axes[0].set_ylabel("Sensitivity")
    handles = [
        Line2D([], [], **_line(model), label=f"{labels.model(model)}: {_aurocs(summary, study, model, panels)}")
        for model in found
    ]
    names = " | ".join(labels.partition(p) for p in panels)
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=2,
        title=f"AUROC on {names} (mean over folds)",
        handlelength=2.4,
    )
    style.add_title(
        figure,
        f"{labels.study(study)}: ROC curves",
        f"{labels.source(source)}. Mean of the curves of all folds of {_seeds(found, panels)}.",
    )
    return figure


@style.styled
def calibrations(
    predictions: Mapping[str, pd.DataFrame], study: str, source: str, confidence: float = 0.95, bins: int = BINS
) -> Figure:
    """Draw the calibration of each model in a panel of its own, seen and unseen clusters.

    Parameters
    ----------
    predictions, study, source
        As for `roc`.
    confidence, bins
        As for `calibration`.

    Raises
    ------
    DataError
        If there are no predictions with finite logits.
    """
    found = _finite(predictions)
    panels = _panels(found)
    figure, axes = style.small_multiples(len(found), COLUMNS, 2.12)
    for i, (ax, (model, rows)) in enumerate(zip(axes, found.items(), strict=True)):
        ax.plot([0, 1], [0, 1], color="#aaaaaa", linewidth=1, zorder=1)
        told = []
        for partition in panels:
            own = rows[rows["partition"] == partition]
            curve = calibration(own, confidence, bins) if len(own) else None
            told.append("–" if curve is None else f"{curve.ece:.2f}")
            if curve is not None:
                _draw_calibration(ax, curve, *_MARKS[partition])
        ax.set_title(f"{style.wrapped(labels.model(model), 22)}\nECE {' | '.join(told)}", loc="left", fontsize=9)
        ax.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
        ax.grid()
        if i % COLUMNS:
            ax.set_yticklabels([])
        else:
            ax.set_ylabel("Observed")
        if i >= len(found) - COLUMNS:
            ax.set_xlabel("Predicted")
    handles = [
        Line2D([], [], color=_MARKS[p][0], marker=_MARKS[p][1], markersize=4.5, label=labels.partition(p))
        for p in panels
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    style.add_title(
        figure,
        f"{labels.study(study)}: calibration",
        f"{labels.source(source)}. Observed share of class 1 against mean predicted probability, in bins of equally many "
        f"predictions; {confidence:.0%} Wilson intervals; "
        f"{_seeds(found, panels)}. ECE: {' | '.join(labels.partition(p) for p in panels)}.",
    )
    return figure


def _roc(rows: pd.DataFrame) -> np.ndarray | None:
    """True positive rates on the grid; None where there is one class only."""
    output, y = rows["mixed"].to_numpy(np.float64), rows["y_true"].to_numpy(np.float64)
    order = np.argsort(-output, kind="stable")
    output, y = output[order], y[order]
    last = np.r_[np.flatnonzero(np.diff(output)), len(output) - 1]  # equal predictions are called together
    tp, fp = np.cumsum(y)[last], np.cumsum(1 - y)[last]
    if tp[-1] == 0 or fp[-1] == 0:
        return None
    return np.interp(_GRID, np.r_[0.0, fp / fp[-1]], np.r_[0.0, tp / tp[-1]])


def _finite(predictions: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Rows with finite logits, of models that have some, in the registry's order."""
    kept = {model: rows[np.isfinite(rows["mixed"])] for model, rows in predictions.items()}
    found = {model: kept[model] for model in labels.ordered_models(kept) if len(kept[model])}
    if not found:
        raise DataError("There are no predictions with finite logits; run the models' predictions first.")
    return found


def _panels(found: Mapping[str, pd.DataFrame]) -> list[str]:
    return [p for p in PANELS if any((rows["partition"] == p).any() for rows in found.values())]


def _line(model: str) -> dict:
    foremost = model in _FOREMOST
    return {
        "color": style.model_colour(model),
        "linestyle": style.model_line(model),
        "linewidth": 2.2 if foremost else 1.2,
        "zorder": 4 if foremost else 3,
    }


def _aurocs(summary: pd.DataFrame, study: str, model: str, panels: list[str]) -> str:
    keep = (summary["study"] == study) & (summary["model"] == model) & (summary["metric"] == "auroc")
    rows = summary[keep & (summary["variant"] == "main") & (summary["ci_method"] == "corrected")]
    means = rows.set_index("partition")["mean"]
    return " | ".join(f"{means[p]:.3f}" if p in means and np.isfinite(means[p]) else "–" for p in panels)


def _draw_calibration(ax: Axes, curve: Calibration, colour: str, marker: str) -> None:
    ax.vlines(curve.predicted, curve.low, curve.high, color=colour, linewidth=1, alpha=0.55, zorder=2)
    ax.plot(
        curve.predicted,
        curve.observed,
        color=colour,
        marker=marker,
        markersize=3.2,
        linewidth=1,
        markeredgewidth=0,
        zorder=3,
    )


def _seeds(found: Mapping[str, pd.DataFrame], panels: list[str]) -> str:
    """How many seeds are drawn of each partition; unseen clusters keep the predictions of fewer."""
    counts = [max(rows.loc[rows["partition"] == p, "seed"].nunique() for rows in found.values()) for p in panels]
    if len(set(counts)) == 1:
        return f"{counts[0]} seed{'s' if counts[0] != 1 else ''}"
    return " and ".join(f"{n} ({p})" for n, p in zip(counts, panels, strict=True)) + " seeds"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
