"""What the models learnt: importance of features and probes, and random intercepts against class balance."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.special import stdtrit

from armed import labels
from armed.associations import cluster_correlation, intercepts_with_balance
from armed.data.study import is_probe
from armed.errors import DataError
from armed.plotting import style
from armed.plotting.performance import select

COLUMNS = 3  # small multiples beside one another
_UNITS = {"dataset": ("o", "one verdict per dataset"), "fold": ("s", "one verdict per fold")}
_FIRST = ("conventional", "armed", "armed_no_adversary")  # the comparison in question, in one row


def importance_shares(importance: pd.DataFrame) -> pd.DataFrame:
    """Importance per dataset as a share of the model's total: models on different scales compare.

    Parameters
    ----------
    importance : pandas.DataFrame
        Rows of `results/importance.tsv` of one study and variant.

    Returns
    -------
    pandas.DataFrame
        Columns model, seed, feature, share: the mean over folds, divided by its sum over features.
    """
    means = importance.groupby(["model", "seed", "feature"], sort=False)["importance"].mean().reset_index()
    totals = means.groupby(["model", "seed"])["importance"].transform("sum")
    means["share"] = means["importance"] / totals.where(totals > 0)
    return means.drop(columns="importance")


def intercept_correlations(random_effects: pd.DataFrame, truth: pd.DataFrame) -> pd.DataFrame:
    """Correlate learned random intercepts with class balance, over the clusters of each dataset.

    Parameters
    ----------
    random_effects : pandas.DataFrame
        Rows of `results/random_effects.tsv` of one study and variant.
    truth : pandas.DataFrame
        `StudyData.truth` (variant, dataset, part, cluster, radius, ratio) of that variant. A seed uses the dataset
        of its number; where there is only one dataset, all seeds use it.

    Returns
    -------
    pandas.DataFrame
        Columns model, seed, r, p, n (number of clusters). r is Pearson's, over clusters: n is never the number
        of samples or folds. Constant intercepts give NaN.
    """
    found = []
    for (model, seed), pairs in intercepts_with_balance(random_effects, truth).groupby(["model", "seed"], sort=False):
        result = cluster_correlation(pairs["ratio"], pairs["mean"], pairs["cluster"])
        found.append((model, seed, result.r, result.p, result.n))
    return pd.DataFrame(found, columns=["model", "seed", "r", "p", "n"])


@style.styled
def importance(table: pd.DataFrame, study: str, source: str, variant: str = "main", confidence: float = 0.95) -> Figure:
    """Draw the importance of real features and probes, one panel per model, one point per dataset.

    Parameters
    ----------
    table : pandas.DataFrame
        `results/importance.tsv`.
    study, source, variant : str
    confidence : float
        Of the t interval over datasets.

    Raises
    ------
    DataError
        If no model of the study has importances.
    """
    shares = importance_shares(select(table, "importance.tsv", study=study, variant=variant))
    models = _ordered(shares["model"])
    features = list(dict.fromkeys(shares["feature"]))
    figure, panels = style.small_multiples(len(models), COLUMNS, 1.75)
    for ax, model in zip(panels, models, strict=True):
        of_model = shares[shares["model"] == model]
        for position, feature in enumerate(features):
            values = of_model.loc[of_model["feature"] == feature, "share"].dropna().to_numpy()
            colour = style.VERMILLION if is_probe(feature) else style.BLUE
            _points_and_mean(ax, position, values, colour, confidence)
        ax.set_title(labels.model(model), loc="left")
        ax.set_xticks(range(len(features)), features)
        ax.set_xlim(-0.5, len(features) - 0.5)
        ax.grid(axis="y")
    top = min(1.0, max(ax.get_ylim()[1] for ax in panels))
    for ax in panels:
        ax.set_ylim(0, top)
    figure.supylabel("Share of the model's total importance", fontsize=9.5)
    marks = {"real feature": style.BLUE, "probe (confounded)": style.VERMILLION}
    handles = [Line2D([], [], color=colour, marker="o", label=name) for name, colour in marks.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    style.add_title(
        figure,
        f"{labels.study(study)}: feature importance",
        f"{labels.source(source)}. Fixed effects: mean |d logit / d x| times s.d. of x. Points: one per dataset "
        f"({shares['seed'].nunique()});\nbars: mean and {confidence:.0%} interval. Probes predict only through the "
        "cluster: lower is better.",
    )
    return figure


@style.styled
def deconfounding_share(table: pd.DataFrame, study: str, source: str, confidence: float = 0.95) -> Figure:
    """Draw the share of datasets in which a probe is more important than the weakest real feature, per model.

    Parameters
    ----------
    table : pandas.DataFrame
        `results/deconfounding.tsv`: study, model, variant, unit (``dataset`` or ``fold``), share, ci_low, ci_high
        (Wilson), n_seeds (= datasets), n_folds.
    study, source : str
    confidence : float
        Of the intervals in the table.

    Raises
    ------
    DataError
        If the table has no row of the study.
    """
    rows = select(table, "deconfounding.tsv", study=study)
    cells = [
        (model, variant)
        for model in _ordered(rows["model"])
        for variant in rows.loc[rows["model"] == model, "variant"].unique()
    ]
    units = [unit for unit in _UNITS if unit in set(rows["unit"])]
    figure = style.new_figure(0.34 * len(cells) + 1.75)
    ax = figure.subplots()
    for row in rows.itertuples():
        place = units.index(row.unit)
        y = cells.index((row.model, row.variant)) + 0.3 * (place - (len(units) - 1) / 2)
        colour, (marker, _) = style.model_colour(row.model), _UNITS[row.unit]
        ax.hlines(y, 100 * row.ci_low, 100 * row.ci_high, color=colour, linewidth=1.8)
        face = "white" if place else colour
        ax.plot(100 * row.share, y, marker, color=colour, markerfacecolor=face, markersize=6, zorder=3)
    style.name_rows(figure, [labels.model(m, v, study) for m, v in cells])
    ax.set_xlim(-1, max(10, 104 * rows["ci_high"].max()))
    ax.set_xlabel("A probe is more important than the weakest real feature (%)")
    handles = []
    for place, unit in enumerate(units):
        marker, name = _UNITS[unit]
        face = "white" if place else "#444444"
        handles.append(Line2D([], [], color="#444444", marker=marker, markerfacecolor=face, label=name))
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    low, high = rows["n_seeds"].min(), rows["n_seeds"].max()
    style.add_title(
        figure,
        f"{labels.study(study)}: how often a probe wins",
        f"{labels.source(source)}, {low if low == high else f'{low} to {high}'} datasets. Lower is better. "
        f"{confidence:.0%} Wilson interval.",
    )
    return figure


@style.styled
def random_intercepts(
    random_effects: pd.DataFrame, truth: pd.DataFrame, study: str, source: str, variant: str = "main"
) -> Figure:
    """Draw learned random intercepts against class balance: scatters of one dataset, then r over all datasets.

    Parameters
    ----------
    random_effects : pandas.DataFrame
        `results/random_effects.tsv`.
    truth : pandas.DataFrame
        `StudyData.truth`.
    study, source, variant : str

    Raises
    ------
    DataError
        If no model of the study has random intercepts for the clusters of `truth`.
    """
    effects = select(random_effects, "random_effects.tsv", study=study, variant=variant, effect="intercept")
    truth = select(truth, "the data's truth", variant=variant, part="seen")
    pairs, correlations = intercepts_with_balance(effects, truth), intercept_correlations(effects, truth)
    if correlations["r"].isna().all():
        raise DataError(f"No random intercept of {study} varies together with a class balance that varies.")
    models = _ordered(pairs["model"])
    shown = pairs["seed"].min()
    unit = "dataset" if truth["dataset"].nunique() > 1 else "seed"  # a seed is one of several runs on one dataset
    figure, panels = style.small_multiples(len(models), COLUMNS, 2.1, extra=0.34 * len(models) + 0.85)
    *panels, spread = panels
    for i, (ax, model) in enumerate(zip(panels, models, strict=True)):
        of_model = pairs[(pairs["model"] == model) & (pairs["seed"] == shown)]
        ax.plot(100 * of_model["ratio"], of_model["mean"], "o", color=style.model_colour(model), markersize=5)
        _fit_line(ax, 100 * of_model["ratio"], of_model["mean"])
        ax.set_title(f"{labels.model(model)}\n{_correlation(correlations, model, shown)}", loc="left", fontsize=9)
        ax.set_xlabel("Class 1 in cluster (%)")
        ax.grid()
        if i % COLUMNS == 0:
            ax.set_ylabel("Random intercept")
    _spread(spread, correlations, models, unit)
    style.add_title(
        figure,
        f"{labels.study(study)}: random intercepts against class balance",
        f"{labels.source(source)}. Above: {unit} {shown}, one point per cluster (mean over folds). Below: Pearson's r "
        f"of each\nof {correlations['seed'].nunique()} {unit}s, and its median (bar).",
    )
    return figure


def _ordered(models: pd.Series) -> list[str]:
    found = labels.ordered_models(models.unique())
    return [m for m in _FIRST if m in found] + [m for m in found if m not in _FIRST]


def _points_and_mean(ax: Axes, position: float, values: np.ndarray, colour: str, confidence: float) -> None:
    # Fixed offsets, not random ones: the same figure each time.
    offsets = 0.24 * np.sin(np.arange(len(values)) * 2.4)
    ax.plot(position + offsets, values, "o", color=colour, alpha=0.35, markersize=3, markeredgewidth=0)
    if len(values) == 0:
        return
    mean = values.mean()
    ax.hlines(mean, position - 0.32, position + 0.32, color=colour, linewidth=2.2, zorder=3)
    if len(values) > 1:
        half = stdtrit(len(values) - 1, 0.5 + confidence / 2) * values.std(ddof=1) / np.sqrt(len(values))
        ax.vlines(position, mean - half, mean + half, color=style.BLACK, linewidth=1.4, zorder=4)


def _fit_line(ax: Axes, x: pd.Series, y: pd.Series) -> None:
    if x.std() > 0:
        slope, intercept = np.polyfit(x, y, 1)
        ends = np.array([x.min(), x.max()])
        ax.plot(ends, intercept + slope * ends, color="#888888", linewidth=1, zorder=1)


def _correlation(correlations: pd.DataFrame, model: str, seed: int) -> str:
    row = correlations[(correlations["model"] == model) & (correlations["seed"] == seed)].iloc[0]
    if np.isnan(row["r"]):
        return f"r not defined\nn = {row['n']} clusters"
    p = "p < 0.001" if row["p"] < 0.001 else f"p = {row['p']:.3f}"
    return f"r = {row['r']:.2f}, {p}\nn = {row['n']} clusters".replace("-", "−")


def _spread(ax: Axes, correlations: pd.DataFrame, models: list[str], unit: str) -> None:
    for position, model in enumerate(models):
        values = correlations.loc[correlations["model"] == model, "r"].dropna().to_numpy()
        offsets = 0.2 * np.sin(np.arange(len(values)) * 2.4)
        ax.plot(values, position + offsets, "o", color=style.model_colour(model), alpha=0.45, markersize=4)
        if len(values):
            ax.vlines(np.median(values), position - 0.34, position + 0.34, color=style.BLACK, linewidth=2)
    ax.set_yticks(range(len(models)), [labels.model(m) for m in models])
    ax.set_ylim(len(models) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    ax.axvline(0, color="#888888", linewidth=1)
    ax.set_xlim(min(-0.05, correlations["r"].min() - 0.05), 1.02)
    over = ", over the clusters of a dataset" if unit == "dataset" else "; one point per seed"
    ax.set_xlabel(f"Correlation r of intercept and class balance{over}")
    ax.grid(axis="x")
