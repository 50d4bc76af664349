"""How good reconstructions are, and what they keep of clusters: errors of fixed and mixed effects, image statistics."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from armed import labels
from armed.data.image_statistics import f_statistics
from armed.errors import DataError
from armed.plotting import style
from armed.plotting.performance import select

IMAGES = {"original": "original", "fixed": "fixed effects", "mixed": "mixed effects"}
PANELS = {"seen": "seen_population", "unseen": "unseen_population"}
"""Partition of the mixed effects, and that of the fixed ones, Z = 0."""
_MARKS = {"original": (style.BLACK, "o"), "fixed": (style.BLUE, "s"), "mixed": (style.VERMILLION, "^")}
_NAMES = {
    "brightness": "Brightness",
    "contrast": "Contrast (s.d.)",
    "sharpness": "Sharpness (variance of the Laplacian)",
    "snr": "Signal to noise (dB)",
}
_SHIFT = 0.18  # of the space of a cluster, between the marks of one
_DODGE = 0.24  # of a row's height
_PUBLISHED = {"color": style.BLACK, "marker": "|", "linestyle": "none", "markersize": 9, "markeredgewidth": 1.8}
_DARK = "#444444"
_THOUSANDTHS = 1000
_COLUMNS = 2


def by_cluster(kept: Mapping[str, np.ndarray], partition: str = "seen") -> tuple[pd.DataFrame, pd.DataFrame]:
    """Image statistics of each cluster, and how much they differ between clusters.

    Parameters
    ----------
    kept : mapping of str to array
        What `armed.jobs.latents` keeps of a model: statistics_original, statistics_fixed and statistics_mixed (n, 4),
        statistic_names (4,), seed, fold, partition, cluster, subject (n,).
    partition : str

    Returns
    -------
    means : pandas.DataFrame
        Columns image, statistic, cluster, mean, sd: of subjects' means, averaged over fits.
    f : pandas.DataFrame
        Columns image, statistic, f: of subjects' means (`armed.data.image_statistics.f_statistics`), averaged over fits.
    """
    here = kept["partition"] == partition
    fits = sorted(set(zip(kept["seed"][here].tolist(), kept["fold"][here].tolist(), strict=True)))
    means, f = [], []
    for seed, fold in fits:
        own = here & (kept["seed"] == seed) & (kept["fold"] == fold)
        cluster, subject = kept["cluster"][own].astype(str), kept["subject"][own].astype(str)
        for image in IMAGES:
            values = kept[f"statistics_{image}"][own].astype(np.float64)
            of_subjects = _of_subjects(values, kept["statistic_names"], cluster, subject)
            means.append(of_subjects.assign(image=image))
            f.append(f_statistics(values, cluster, subject)[["statistic", "f"]].assign(image=image))
    if not means:
        return pd.DataFrame(), pd.DataFrame()
    by = ["image", "statistic", "cluster"]
    averaged = pd.concat(means).groupby(by, sort=False)[["mean", "sd"]].mean().reset_index()
    return averaged, pd.concat(f).groupby(["image", "statistic"], sort=False)["f"].mean().reset_index()


@style.styled
def statistics(kept: Mapping[str, np.ndarray], model: str, study: str, source: str, partition: str = "seen") -> Figure:
    """Draw brightness, contrast, sharpness and signal to noise of originals and reconstructions, by cluster, with F.

    Parameters
    ----------
    kept : mapping of str to array
        As for `by_cluster`.
    model, study, source, partition : str

    Raises
    ------
    DataError
        No statistics were kept.
    """
    means, f = by_cluster(kept, partition)
    if means.empty:
        raise DataError(f"No image statistics of {study} were kept for {model}; run the job that makes latents.")
    clusters = sorted(means["cluster"].unique())
    figure, axes = style.small_multiples(len(kept["statistic_names"]), _COLUMNS, 1.9)
    for i, (ax, statistic) in enumerate(zip(axes, kept["statistic_names"].tolist(), strict=True)):
        told = []
        for k, (image, (colour, marker)) in enumerate(_MARKS.items()):
            own = means[(means["image"] == image) & (means["statistic"] == statistic)].set_index("cluster")
            own = own.reindex(clusters)
            x = np.arange(len(clusters)) + (k - 1) * _SHIFT
            ax.errorbar(
                x, own["mean"], own["sd"], color=colour, marker=marker, linestyle="none", markersize=4, linewidth=1
            )
            value = f.loc[(f["image"] == image) & (f["statistic"] == statistic), "f"]
            told.append(_number(value.mean()))
        ax.set_title(f"{_NAMES.get(statistic, statistic)}\nF {' | '.join(told)}", loc="left", fontsize=9)
        names = clusters if i >= len(axes) - _COLUMNS else [""] * len(clusters)
        ax.set_xticks(range(len(clusters)), names, rotation=90, fontsize=8.5)
        ax.grid(axis="y")
    handles = [
        Line2D([], [], color=colour, marker=marker, markersize=4.5, linewidth=1, label=IMAGES[image])
        for image, (colour, marker) in _MARKS.items()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    cluster = labels.noun("cluster", study)
    style.add_title(
        figure,
        f"{labels.study(study)}: what images and reconstructions keep of the {cluster}",
        f"{labels.source(source)}.\n{labels.model(model)}, test cells of {labels.partition(partition)}: mean and s.d. over "
        f"cells, mean over fits.\nF over {cluster}s of cells' means: original | fixed | mixed; where nothing differs, near 1.",
    )
    return figure


@style.styled
def errors(summary: pd.DataFrame, comparison: pd.DataFrame, study: str, confidence: float = 0.95) -> Figure:
    """Draw the mean squared error of reconstructions for each model, of fixed and of mixed effects, seen beside unseen.

    Parameters
    ----------
    summary, comparison : pandas.DataFrame
        Tables of `results/`; `comparison` may be empty.
    study : str
    confidence : float
        Of the intervals in `summary`.

    Raises
    ------
    DataError
        If there is no result of the study.
    """
    wanted = {"study": study, "metric": "mse", "ci_method": "corrected", "variant": "main"}
    rows = select(summary, "summary.tsv", partition=[*PANELS, *PANELS.values()], **wanted)
    models = labels.ordered_models(rows["model"].unique())
    panels = [p for p in PANELS if p in set(rows["partition"])]
    published = comparison[(comparison["study"] == study) & (comparison["metric"] == "mse")]
    published = published.drop_duplicates(["partition", "model"])
    figure = style.new_figure(0.4 * len(models) + 2.15)
    axes = figure.subplots(1, len(panels), sharey=True, sharex=True, squeeze=False)[0]
    for ax, partition in zip(axes, panels, strict=True):
        for position, model in enumerate(models):
            of_model = rows[rows["model"] == model].set_index("partition")
            for name, face, shift in ((partition, None, 0.0), (PANELS[partition], "white", _DODGE)):
                if name in of_model.index:
                    _mark(ax, of_model.loc[name], position + shift, style.model_colour(model), face)
        for row in published[published["partition"] == partition].itertuples():
            if row.model in models:
                ax.plot(row.published * _THOUSANDTHS, models.index(row.model) - _DODGE, zorder=2, **_PUBLISHED)
        ax.set_title(_capital(labels.partition(partition)), loc="left")
        ax.set_xlabel("Mean squared error (thousandths)")
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    style.name_rows(figure, [labels.model(m) for m in models])
    handles = [Line2D([], [], color=_DARK, marker="o", label="mixed effects, or the model's only one")]
    if rows["partition"].isin(PANELS.values()).any():
        handles.append(Line2D([], [], color=_DARK, marker="o", markerfacecolor="white", label="fixed effects (Z = 0)"))
    if len(published):
        handles.append(Line2D([], [], **_PUBLISHED, label=labels.published(published["table"].iloc[0])))
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    style.add_title(
        figure,
        f"{labels.study(study)}: error of reconstructions",
        f"{labels.source(rows['source'].iloc[0])}.\nMean squared error of pixels between 0 and 1; lower is better. Mean and "
        f"{confidence:.0%} interval ({style.counts(rows)}).",
    )
    return figure


def _of_subjects(values: np.ndarray, names: np.ndarray, cluster: np.ndarray, subject: np.ndarray) -> pd.DataFrame:
    """Mean and s.d. over subjects of each cluster: statistic, cluster, mean, sd."""
    frame = pd.DataFrame(values, columns=names.tolist()).assign(cluster=cluster, subject=subject)
    means = frame.groupby(["cluster", "subject"]).mean().reset_index().drop(columns="subject")
    long = means.melt("cluster", var_name="statistic")
    return long.groupby(["statistic", "cluster"], sort=False)["value"].agg(mean="mean", sd="std").reset_index()


def _mark(ax: Axes, row: pd.Series, y: float, colour: str, face: str | None) -> None:
    if row["ci_low"] <= row["ci_high"]:  # false where an interval is not defined
        ax.hlines(y, row["ci_low"] * _THOUSANDTHS, row["ci_high"] * _THOUSANDTHS, color=colour, linewidth=1.6, zorder=2)
    ax.plot(
        row["mean"] * _THOUSANDTHS,
        y,
        "o",
        color=colour,
        markerfacecolor=face or colour,
        markersize=5.5,
        zorder=3,
        markeredgewidth=1.3,
    )


def _number(value: float) -> str:
    if not np.isfinite(value):
        return "–"
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
