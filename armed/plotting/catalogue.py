"""Which figures a study has and what their captions say, from the configuration alone. Loads no matplotlib."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from armed import labels, registry
from armed.config import selected_models


@dataclass(frozen=True)
class FigureSpec:
    """A figure of the report.

    Parameters
    ----------
    name : str
        File name in `results/figures/`, without suffix.
    study : str
    kind : str
        Key of `armed.plotting.draw.KINDS`.
    caption : str
        Text below the figure; it follows the settings.
    """

    name: str
    study: str
    kind: str
    caption: str


def figures(study: str, config: Mapping) -> list[FigureSpec]:
    """List the figures of a study in the order of the report.

    Parameters
    ----------
    study : str
        A study of the configuration.
    config : mapping
        The whole configuration.

    Returns
    -------
    list of FigureSpec
        Studies other than the spirals have the accuracy figure only. Importance needs probes, random intercepts a
        class balance that varies and a model with random effects, the null check radii around 0.
    """
    block = config["studies"][study]
    data = block.get("data", {})
    wanted = [("performance", _performance(study, block))]
    if study in registry.SPIRALS:
        wanted = [("data", _data(data)), ("boundaries", _boundaries(block)), *wanted]
        if is_null_check(block):
            wanted.append(("null_check", _null_check(block)))
        if data["n_probes"]:
            wanted += [("importance", _importance(block)), ("deconfounding", _deconfounding(block))]
        if data["ratio_sd"] and any(registry.MODELS[m].random_effects for m in selected_models(config, study)):
            wanted.append(("random_intercepts", _intercepts(block)))
    return [FigureSpec(f"{study}_{kind}", study, kind, caption) for kind, caption in wanted]


def is_null_check(block: Mapping) -> bool:
    """Whether no method can know anything about unseen clusters: radii around 0 swap the classes half of the time."""
    data = block.get("data", {})
    return data.get("radius_mean") == 0 and data.get("ratio_sd") == 0 and not data.get("n_probes")


def headline_metric(study: str) -> str:
    """The metric that a study is reported by first."""
    return registry.STUDIES[study].metrics[0] if study in registry.STUDIES else "accuracy"


def _runs(block: Mapping) -> str:
    return f"{block['seeds']} seeds x {block['folds']} folds"


def _data(data: Mapping) -> str:
    balance = f"; share of class 1 by cluster drawn with s.d. {data['ratio_sd']:g}" if data["ratio_sd"] else ""
    return (
        f"{data['n_clusters']} seen clusters of {data['n_per_cluster']} points on two spirals with noise of s.d. "
        f"{data['noise']:g}; radii drawn from a normal distribution with mean {data['radius_mean']:g} and s.d. "
        f"{data['radius_sd']:g}{balance}. A negative radius swaps the classes. The line is the ideal boundary: "
        "which of the two spirals is nearer."
    )


def _boundaries(block: Mapping) -> str:
    hidden = ", ".join(str(units) for units in block["network"]["hidden"])
    return (
        f"What each model (networks: hidden layers of {hidden} units, {block['training']['epochs']} epochs) predicts "
        "over the plane, one seed and one fold. Models without random effects have the same boundary in each cluster. "
        "An even panel: that network predicts the same everywhere. Probes, where there are any, are held at their mean."
    )


def _performance(study: str, block: Mapping) -> str:
    metric = labels.metric(headline_metric(study))
    fewer = ""
    if block.get("statsmodels_seeds", block["seeds"]) != block["seeds"]:
        fewer = f" Linear and logistic mixed models have no randomness and run on {block['statsmodels_seeds']} seeds."
    return (
        f"Mean {metric} over {_runs(block)}, with the interval that allows for overlapping training sets (within one "
        "dataset), for different datasets (over seeds), or for different clusters (unseen clusters). On unseen "
        f"clusters, methods that use cluster membership infer it from the data.{fewer}"
    )


def _null_check(block: Mapping) -> str:
    return (
        "Class 1 at radius r is class 0 at radius -r, so nothing can be learnt about an unseen cluster: a model whose "
        f"interval misses 0.5 would point to a leak or to an interval that is too short ({_runs(block)})."
    )


def _importance(block: Mapping) -> str:
    data = block["data"]
    return (
        f"Importance of the two real features and of {data['n_probes']} probes, which know the class balance of the "
        f"cluster (s.d. {data['ratio_sd']:g} over clusters) and nothing else: mean |d logit / d x| of the fixed effects "
        "over the test samples times the s.d. of x, as a share of the model's total. One point per dataset "
        f"({block['seeds']} datasets, mean over {block['folds']} folds)."
    )


def _deconfounding(block: Mapping) -> str:
    return (
        f"Share of the {block['seeds']} datasets in which some probe is more important than the weakest real feature: "
        "how often an analyst would be misled."
    )


def _intercepts(block: Mapping) -> str:
    n = block["data"]["n_clusters"]
    return (
        f"Learned random intercept of each of the {n} seen clusters against the cluster's share of class 1. A "
        f"correlation here has n = {n}, the number of clusters, whatever the number of samples."
    )
