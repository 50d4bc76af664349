"""Which figures a study has and what their captions say, from the configuration alone. Loads no matplotlib."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from armed import labels, registry
from armed.config import selected_models
from armed.config import source as source_of
from armed.plotting import autoencoder_captions

UNIVARIATE = "mci_conversion"
"""The study that has univariate models to compare with."""


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
        Spirals: importance needs probes, random intercepts a class balance that varies and a model with random effects, the
        null check radii around 0. Other studies: curves need binary labels, ranks of probes such features, random slopes and
        intercepts the dementia data and a model that has them, recovery a stand-in. Studies with a `saliency` block, those
        on images: maps in place of features, intercepts as before, and where they look only where a stand-in tells the true
        region. Studies of autoencoders: `armed.plotting.autoencoder_captions`.
    """
    block = config["studies"][study]
    named = _of_spirals if study in registry.SPIRALS else _of_tables
    return [FigureSpec(f"{study}_{kind}", study, kind, caption) for kind, caption in named(study, block, config)]


def _of_spirals(study: str, block: Mapping, config: Mapping) -> list[tuple[str, str]]:
    data = block["data"]
    wanted = [("data", _data(data)), ("boundaries", _boundaries(block)), ("performance", _performance(study, block))]
    if is_null_check(block):
        wanted.append(("null_check", _null_check(block)))
    if data["n_probes"]:
        wanted += [("importance", _importance(block)), ("deconfounding", _deconfounding(block))]
    if data["ratio_sd"] and _with_random_effects(study, config):
        wanted.append(("random_intercepts", _intercepts(f"the {data['n_clusters']} seen clusters", block)))
    return wanted


def _of_tables(study: str, block: Mapping, config: Mapping) -> list[tuple[str, str]]:
    entry = registry.study(study)
    wanted = [("performance", _performance(study, block))]
    if entry.kind == "binary":
        wanted += [("roc", _roc(block, config)), ("calibration", _calibration(block, config))]
    if study in registry.AUTOENCODED:
        is_stand_in = source_of(config, study) == "stand-in"
        with_effects = _with_random_effects(study, config)
        return wanted + autoencoder_captions.wanted(study, block, with_effects=with_effects, is_stand_in=is_stand_in)
    if block.get("saliency"):
        return wanted + _of_images(study, block, config)
    if entry.raw == registry.OWN_IMAGES:
        return wanted
    wanted.append(("top_features", _top_features(study, block, config)))
    if "site_probes" in entry.preparation:
        wanted.append(("probe_ranks", _probe_ranks(block)))
    if entry.raw != "adnimerge":
        return wanted
    if _with_random_effects(study, config):
        wanted.append(("random_intercepts", _intercepts(f"the {block['data']['n_seen']} seen sites", block)))
    if study == UNIVARIATE and _with_slopes_on_input(study, config):
        wanted.append(("random_slopes", _slopes(block)))
        if (recovery := config.get("recovery")) and source_of(config, study) == "stand-in":
            wanted.append(("recovery", _recovery(recovery)))
    return wanted


def _of_images(study: str, block: Mapping, config: Mapping) -> list[tuple[str, str]]:
    is_stand_in = source_of(config, study) == "stand-in"
    wanted = [("saliency", _saliency(block, is_stand_in)), ("saliency_models", _saliency_models(block, is_stand_in))]
    if is_stand_in:
        wanted.append(("localisation", _localisation(study, block)))
    if _with_random_effects(study, config):
        wanted.append(("random_intercepts", _intercepts("the seen sites", block)))
    return wanted


def is_null_check(block: Mapping) -> bool:
    """Whether no method can know anything about unseen clusters: radii around 0 swap the classes half of the time."""
    data = block.get("data", {})
    return data.get("radius_mean") == 0 and data.get("ratio_sd") == 0 and not data.get("n_probes")


def _with_random_effects(study: str, config: Mapping) -> bool:
    return any(registry.MODELS[m].random_effects for m in selected_models(config, study))


def _with_slopes_on_input(study: str, config: Mapping) -> bool:
    settings = config["studies"][study]["settings"]
    return any(settings.get(m, {}).get("slopes") == "input" for m in selected_models(config, study))


def headline_metric(study: str) -> str:
    """The metric that a study is reported by first."""
    return registry.STUDIES[study].metrics[0] if study in registry.STUDIES else "accuracy"


def _runs(block: Mapping, study: str = "") -> str:
    left_out = " x 4 hospitals left out" if study == "heart" else ""
    return f"{block['seeds']} seeds x {block['folds']} fold{'s' * (block['folds'] != 1)}{left_out}"


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
        "over the plane, one seed and one fold. Models that do not look at the cluster have the same boundary in each. "
        "An even panel: that network predicts the same everywhere. Probes, where there are any, are held at their mean."
    )


def _performance(study: str, block: Mapping) -> str:
    metric = labels.metric(headline_metric(study))
    fewer = ""
    slow = [labels.model(m) for m in registry.models_for(study) if registry.MODELS[m].slow]
    if slow and block.get("slow_seeds", block["seeds"]) != block["seeds"]:
        fewer = f" {block['slow_seeds']} seeds of these: {', '.join(slow)}."
    return (
        f"Mean {metric} over {_runs(block, study)}, with the interval that allows for overlapping training sets (within one "
        "dataset), for different datasets (over seeds), or for different clusters (unseen clusters). On unseen "
        f"clusters, methods that use cluster membership infer it from the data.{fewer}{_better(study)}"
    )


def _better(study: str) -> str:
    is_continuous = study in registry.STUDIES and registry.STUDIES[study].kind == "continuous"
    return " Lower is better." if is_continuous else ""


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


def _intercepts(clusters: str, block: Mapping) -> str:
    data = block["data"]
    n = next(data[key] for key in ("n_clusters", "n_seen", "seen") if key in data)
    n = n if isinstance(n, int) else len(n)  # seen sites may be named
    return (
        f"Learned random intercept of each of {clusters} against the cluster's share of class 1. A "
        f"correlation here has n = {n}, the number of clusters, whatever the number of samples."
    )


def _kept(block: Mapping, config: Mapping) -> str:
    kept = min(block["seeds"], config["predictions"]["unseen_seeds"])
    fewer = f" (unseen clusters: {kept})" if kept != block["seeds"] else ""
    return f"{block['seeds']} seeds{fewer}"


def _roc(block: Mapping, config: Mapping) -> str:
    return (
        "Sensitivity against 1 - specificity at every threshold: the curves of all folds of "
        f"{_kept(block, config)}, averaged at equal specificity. The AUROC in the legend is that of the tables."
    )


def _calibration(block: Mapping, config: Mapping) -> str:
    weights = ""
    if block["training"]["class_weights"] == "balanced":
        weights = (
            " Networks were trained with class weights, which shift predicted probabilities towards the rarer class (points "
            "below the diagonal where that is class 1): what they are judged by is thresholds, not probabilities."
        )
    return (
        f"Observed share of class 1 against the mean predicted probability, in ten bins of equally many predictions; the "
        f"predictions of all folds of {_kept(block, config)} together, with Wilson intervals whose n counts each sample "
        "once. ECE: expected calibration error of a seed's predictions, mean over seeds; in the tables it is of single "
        f"folds, whose bins hold few samples, and larger.{weights}"
    )


def _top_features(study: str, block: Mapping, config: Mapping) -> str:
    truth = ""
    if source_of(config, study) == "stand-in":
        truth = (
            " The generator of the stand-in knows which features have information of their own; hollow ones are at most "
            "correlated with those."
        )
    output = "prediction" if registry.study(study).kind == "continuous" else "logit"
    return (
        f"Importance: mean |d {output} / d x| of the fixed effects over the test samples times the s.d. of x, as a share of "
        f"the model's total in each fit ({_runs(block, study)}; fewer where a library fits the model; of trees, "
        f"the mean change as x is shuffled, on the same scale).{truth}"
    )


def _probe_ranks(block: Mapping) -> str:
    return (
        "Probes depend on the site alone, through its share of class 1 among the training subjects. A model that ranks one "
        f"among its ten most important features took confounding for a finding. {_runs(block)}; intervals over seeds, which "
        "for one dataset say nothing of another; dashed: what ranks drawn at random would give."
    )


def _slopes(block: Mapping) -> str:
    return (
        f"S.d. over the {block['data']['n_seen']} seen sites of the learned random slope of each feature, averaged over "
        f"{_runs(block)}, against what models of one feature say: for continuous features the random-slope s.d. of a "
        "mixed logistic model with site intercepts and slopes, for categorical ones the s.d. over sites of the site's "
        "relative risk; and against the truth where a stand-in tells it. n is the number of features."
    )


def _recovery(settings: Mapping) -> str:
    sizes = ", ".join(f"x{size:g}" for size in settings["subjects"])
    return (
        f"{settings['datasets']} stand-ins of each size ({sizes}; x1: as many subjects as the study has), with equally many "
        "sites: r between learned and true s.d. of the random slopes over continuous features, ratio of the two (median over "
        "features; the line is 1), and r between learned and true site intercepts over sites. The oracle is the model that "
        "the data were drawn from, one feature at a time: what it does not recover, the data do not tell."
    )


def _saliency(block: Mapping, is_stand_in: bool) -> str:
    return (
        f"{_kind_of_maps(block)}. Where evidence for class 1 comes from in the first test subjects of "
        "each label, in order of their names, of the first seed and fold. All maps have the same sum, so that a difference "
        "tells where a site's random effects move the attention, not how sure they make the network; one colour scale for all "
        f"panels.{_outline(is_stand_in)}"
    )


def _saliency_models(block: Mapping, is_stand_in: bool) -> str:
    return (
        f"{_kind_of_maps(block)}. Of each model's own prediction of the same subjects, with their known "
        "site where the model uses sites; models whose sites only shift the logit, or enter above the layer by an output "
        "that is linear in them, have the map of their fixed effects. Of the first seed and fold: one network of each model, "
        f"not what it does on average.{_outline(is_stand_in)}"
    )


def _outline(is_stand_in: bool) -> str:
    return " The outline is the region that the generator of the stand-in changes by disease." if is_stand_in else ""


def _kind_of_maps(block: Mapping) -> str:
    settings = block["saliency"]
    if settings["maps"] == "grad_cam":
        return f"Grad-CAM at layer {settings['layer']}"
    return f"HiResCAM at layer {settings['layer']}: Grad-CAM with the gradient of each position instead of their mean"


def _localisation(study: str, block: Mapping) -> str:
    return (
        f"Share of each map ({_kind_of_maps(block)}, mixed effects) inside the region that the "
        f"generator of the stand-in changes by disease, mean over images of class 1; {_runs(block, study)}. Chance is what a "
        "map that is even over the brain would have. Maps are coarse, so that even a perfect one spills over the region's "
        "border: compare models with one another and with chance, not with 1. Images whose map is empty are left out; the "
        "notes of metrics.tsv count them."
    )
