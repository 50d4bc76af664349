"""What latent spaces hold: distances within and between groups, the cluster by a linear probe, whose the variance is."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from armed import labels
from armed.autoencoder_tables import BY_GROUP, CHANCE, PROBE, SHARES, probe_levels
from armed.errors import DataError
from armed.latents import BETWEEN, WITHIN, group_distances
from armed.plotting import style
from armed.plotting.performance import select

_OF_SHARE = {"cluster": (style.VERMILLION, "s"), "group": (style.BLUE, "o"), "phenotype": (style.GREEN, "D")}
_KINDS = (WITHIN, BETWEEN)
_DODGE = 0.24  # of a row's height
_JITTER = 0.1
_LOWEST = -0.5  # share that is shown: intervals of few fits can end far below 0
_CHANCE = {"color": style.BLACK, "linestyle": (0, (4, 2)), "linewidth": 1.2}
_BY_GROUP = {"color": style.GREY, "linestyle": (0, (1, 1.5)), "linewidth": 1.6}
_DARK = "#444444"


def mean_distances(kept: Mapping[str, np.ndarray], partition: str = "seen") -> pd.DataFrame:
    """Mean distance of each kind of pair of subjects (`armed.latents.group_distances`), for each fit.

    Parameters
    ----------
    kept : mapping of str to array
        What `armed.jobs.latents` keeps of a model: latent (n, L), seed, fold, partition, cluster, group, subject (n,).
    partition : str

    Returns
    -------
    pandas.DataFrame
        Columns seed, fold and each kind; all pairs of subjects count alike. NaN where a kind has no pairs.
    """
    rows = []
    here = kept["partition"] == partition
    for seed, fold in sorted(set(zip(kept["seed"][here].tolist(), kept["fold"][here].tolist(), strict=True))):
        own = here & (kept["seed"] == seed) & (kept["fold"] == fold)
        of_fit = [kept[name][own] for name in ("latent", "cluster", "group", "subject")]
        pairs = group_distances(*of_fit)
        sums = (pairs["distance"] * pairs["pairs"]).groupby(pairs["kind"]).sum()
        means = sums / pairs.groupby("kind")["pairs"].sum()
        rows.append({"seed": seed, "fold": fold} | {kind: means.get(kind, np.nan) for kind in _KINDS})
    return pd.DataFrame(rows, columns=["seed", "fold", *_KINDS])


@style.styled
def distances(kept: Mapping[str, Mapping[str, np.ndarray]], study: str, source: str, partition: str = "seen") -> Figure:
    """Draw how far subjects of one group lie apart over clusters, and different groups within a cluster, for each model.

    Parameters
    ----------
    kept : mapping of str to mapping
        By model, as for `mean_distances`.
    study, source, partition : str

    Raises
    ------
    DataError
        No model's latents have both kinds of pairs.
    """
    found = {m: mean_distances(kept[m], partition).dropna() for m in labels.ordered_models(kept)}
    found = {m: of_fits for m, of_fits in found.items() if len(of_fits)}
    if not found:
        raise DataError(
            f"The latents of {study} have no pairs of one group in two clusters and of two groups in one; run the job that "
            "makes them on more samples, or leave this figure out."
        )
    figure = style.new_figure(0.42 * len(found) + 2.15)
    both, ratios = figure.subplots(1, 2, sharey=True, width_ratios=(1.5, 1))
    for position, (model, of_fits) in enumerate(found.items()):
        colour = style.model_colour(model)
        for kind, face, shift in ((WITHIN, colour, -_DODGE / 2), (BETWEEN, "white", _DODGE / 2)):
            _points(both, of_fits[kind], position + shift, colour, face)
        _points(ratios, of_fits[WITHIN] / of_fits[BETWEEN], position, colour, colour)
    ratios.axvline(1, **_CHANCE, zorder=1)
    _reach(ratios)
    cluster, group = (labels.noun(kind, study) for kind in ("cluster", "group"))
    both.set_xlabel("Mean distance of cells")
    ratios.set_xlabel("Ratio of the two")
    style.name_rows(figure, [labels.model(m) for m in found])
    handles = [
        Line2D([], [], color=_DARK, marker="o", linestyle="none", label=f"one {group}, different {cluster}s"),
        Line2D(
            [],
            [],
            color=_DARK,
            marker="o",
            linestyle="none",
            markerfacecolor="white",
            label=f"different {group}s, one {cluster}",
        ),
        Line2D([], [], **_CHANCE, label="equally far"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    style.add_title(
        figure,
        f"{labels.study(study)}: does a {group} look like itself on another {cluster}?",
        f"{labels.source(source)}.\nStandardised latents, means of cells, {labels.partition(partition)}; small: a fit, large: "
        f"mean.\nBelow 1: one {group} on different {cluster}s is nearer to itself than different {group}s on one {cluster}.",
    )
    return figure


@style.styled
def readings(
    summary: pd.DataFrame, metrics: pd.DataFrame, study: str, *, partition: str = "latents", confidence: float = 0.95
) -> Figure:
    """Draw how well a linear probe tells the cluster from each model's latents, and whose their variance is.

    Parameters
    ----------
    summary, metrics : pandas.DataFrame
        `results/summary.tsv` and `metrics.tsv`, whose notes tell the chance level.
    study, partition : str
    confidence : float
        Of the intervals in `summary`.

    Raises
    ------
    DataError
        If there is no result of the study.
    """
    wanted = {"study": study, "ci_method": "corrected", "partition": partition, "variant": "main"}
    rows = select(summary, "summary.tsv", metric=[PROBE, *SHARES], **wanted)
    models = labels.ordered_models(rows["model"].unique())
    figure = style.new_figure(0.46 * len(models) + 2.3)
    probe, shares = figure.subplots(1, 2, sharey=True, width_ratios=(1, 1.35))
    cluster, group = (labels.noun(kind, study) for kind in ("cluster", "group"))
    known = probe_levels(metrics, study, partition)
    levels = [(known[words], line, name) for words, line, name in _levels(group) if words in known]
    for position, model in enumerate(models):
        of_model = rows[rows["model"] == model].set_index("metric")
        if PROBE in of_model.index:
            _mark(probe, of_model.loc[PROBE], position, _DARK, "o")
        for k, (metric, name) in enumerate(SHARES.items()):
            if metric in of_model.index:
                _mark(shares, of_model.loc[metric], position + (k - 1) * _DODGE, *_OF_SHARE[name])
    for level, line, _ in levels:
        probe.axvline(level, **line, zorder=1)
    probe.set_xlim(0, 1)
    shares.axvline(0, color="#aaaaaa", linewidth=1, zorder=1)
    low, high = shares.get_xlim()
    shares.set_xlim(max(low, _LOWEST), min(high, 1))
    probe.set_xlabel(f"Accuracy of the {cluster}")
    shares.set_xlabel("Share of variance that only it explains")
    style.name_rows(figure, [labels.model(m) for m in models])
    named = {"cluster": cluster, "group": group, "phenotype": "phenotype"}
    handles = [
        Line2D([], [], color=_OF_SHARE[kind][0], marker=_OF_SHARE[kind][1], linewidth=1.6, label=name)
        for kind, name in named.items()
    ]
    handles += [Line2D([], [], **line, label=name) for _, line, name in levels]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    style.add_title(
        figure,
        f"{labels.study(study)}: what do latents tell of {cluster}, {group} and phenotype?",
        f"{labels.source(rows['source'].iloc[0])}.\nLinear probe of the {cluster}, and partition of the latents' variance, on "
        f"{labels.partition(partition)}.\nMean and {confidence:.0%} interval ({style.counts(rows)}).",
    )
    return figure


def _levels(group: str) -> list[tuple[str, dict, str]]:
    return [(CHANCE, _CHANCE, "chance"), (BY_GROUP, _BY_GROUP, f"told by {group} alone")]


def _points(ax: Axes, values: pd.Series, y: float, colour: str, face: str) -> None:
    """Each fit small, their mean large."""
    spread = np.linspace(-_JITTER, _JITTER, len(values)) if len(values) > 1 else np.zeros(1)
    ax.plot(values, y + spread, "o", color=colour, markersize=2.8, alpha=0.6, markeredgewidth=0, zorder=2)
    ax.plot(values.mean(), y, "o", color=colour, markerfacecolor=face, markersize=6.5, markeredgewidth=1.3, zorder=3)


def _reach(ax: Axes) -> None:
    """The same on both sides of 1, but from 0 at least: a ratio of distances is never below."""
    low, high = ax.get_xlim()
    reach = max(0.05, 1 - low, high - 1)
    ax.set_xlim(max(0, 1 - reach), 1 + reach)


def _mark(ax: Axes, row: pd.Series, y: float, colour: str, marker: str) -> None:
    if row["ci_low"] <= row["ci_high"]:  # false where an interval is not defined
        ax.hlines(y, row["ci_low"], row["ci_high"], color=colour, linewidth=1.6, zorder=2)
    ax.plot(row["mean"], y, marker, color=colour, markersize=5.5, zorder=3)
