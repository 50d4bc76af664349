"""The block `tuning` of a study in the configuration: what a search depends on, and what can be wrong with it.

Loads no torch: the configuration is checked with it while the workflow is parsed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from armed import registry
from armed.candidates import find_problems
from armed.errors import did_you_mean

SHARED = ("candidates", "inner_folds", "search", "policy", "metric")
WHOLE_SEED_METRICS = ("within_cluster_auroc",)
"""Metrics with one value for all folds of a seed, by which no fold can choose."""
# Hyperparameters that mean nothing where another setting is null.
_NEEDS = {"slope_prior_sd": "slopes", "lambda_g": "adversary_units"}


def tuning_settings(block: Mapping, model: str) -> dict:
    """What the search for a model's hyperparameters depends on, given the block of its study.

    Returns
    -------
    dict
        Arguments of `armed.tuning.Plan`.
    """
    given = block["tuning"]
    space = {
        name: {key: values[key] for key in ("low", "high", "scale")} if isinstance(values, Mapping) else values
        for name, values in given["space"].get(model, {}).items()
        if values is not None
    }
    own = {"learning_rate": block["training"]["learning_rate"], **block["settings"][model]}
    default = {name: own[name] for name in registry.MODELS[model].tunable}
    return {
        **{key: given[key] for key in SHARED},
        "seeds": list(range(given["seeds"])),
        "space": space,
        "default": default,
    }


def searched(config: Mapping, study: str) -> list[str]:
    """Models that are tuned, selected, and have settings; fewer where keys are missing."""
    block = config["studies"][study]
    wanted = block.get("tuning", {}).get("models", [])
    return [m for m in wanted if m in config["run"].get("models", []) and m in block.get("settings", {})]


def find_inconsistencies(config: Mapping, study: str) -> Iterator[str]:
    """Problems between the keys of a study's search and others, one sentence each."""
    block, where = config["studies"][study], f"studies.{study}.tuning"
    given, data = block["tuning"], block["data"]
    if not given["models"]:
        return
    if given["seeds"] > block["seeds"]:
        yield f"{where}.seeds is {given['seeds']}, but at most studies.{study}.seeds, {block['seeds']}, was expected."
    metrics = registry.STUDIES[study].metrics if study in registry.BUILT_IN else registry.METRICS_OF_KIND[data["kind"]]
    known = [m for m in metrics if m not in WHOLE_SEED_METRICS]
    if given["metric"] not in known:
        yield (
            f"{where}.metric is '{given['metric']}', but a metric that the study has for each fold was expected, one of "
            f"{', '.join(known)}.{did_you_mean(given['metric'], known)}"
        )
    if study not in registry.SPIRALS:
        return
    training = data["n_per_cluster"] - -(-data["n_per_cluster"] // block["folds"])
    if given["inner_folds"] > training:
        yield (
            f"{where}.inner_folds is {given['inner_folds']}, but at most {training} was expected, the training points of a "
            "cluster in each fold."
        )


def find_space_problems(config: Mapping, study: str, model: str) -> Iterator[str]:
    """Problems of the space of one model that is tuned, one sentence each."""
    block, where = config["studies"][study], f"studies.{study}.tuning"
    plan, here = tuning_settings(block, model), f"{where}.space.{model}"
    if not plan["space"]:
        yield f"{where}.models has '{model}', but {here} has no hyperparameter to search: at least one was expected."
        return
    for name, other in _NEEDS.items():
        if name in plan["space"] and other in block["settings"][model] and block["settings"][model][other] is None:
            yield f"{here}.{name} is given, but null was expected: studies.{study}.settings.{model}.{other} is null."
    for name, problem in find_problems(plan["space"], plan["default"], plan["candidates"], plan["search"]):
        yield f"{here}{f'.{name}' if name else ''} {problem}."
