"""The block `sweeps` of the configuration: what is changed one at a time, and what each job depends on.

Loads no torch: the configuration is checked with it while the workflow is parsed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from armed import registry

STUDY = "spirals_confounded"
MODELS = ("conventional", "domain_adversarial", "armed")
REFERENCE = "conventional"
OF_DATA = ("n_clusters", "n_per_cluster", "ratio_sd")
"""Factors that change the data, by their name in the study's block; all models are fitted to each."""
PRIOR_SCALE = "prior_scale"
"""Factor that multiplies the s.d. of all priors of random effects."""
PRIORS = ("slope_prior_sd", "intercept_prior_sd")
OF_MODEL = ("lambda_g", "lambda_K", "lambda_F", PRIOR_SCALE)
"""Factors that change a model's settings; models that have no such setting are fitted once."""
FACTORS = (*OF_MODEL, *OF_DATA)
IMPORTANCE = "importance_at"
"""Factor of how importance is read off the fits of the study as it is: over the test samples, or as the authors do."""
AVERAGED, MEAN_POINT = "average", "mean_point"


def swept_models(config: Mapping) -> list[str]:
    """Ids of the models that are swept: none where it is switched off, or where neither the study nor ARMED is selected."""
    run = config["run"]
    if config["sweeps"] is None or STUDY not in run["studies"] or "armed" not in run["models"]:
        return []
    return [model for model in MODELS if model in run["models"]]


def applies(factor: str, model: str) -> bool:
    """Whether a factor changes anything of a model's fits."""
    if factor in OF_DATA:
        return True
    tunable = registry.model(model).tunable
    return any(name in tunable for name in PRIORS) if factor == PRIOR_SCALE else factor in tunable


def own_levels(config: Mapping, model: str) -> dict[str, float]:
    """The own level of every factor that is swept: the model's value, or ARMED's where the model has no such setting."""
    given, block = config["sweeps"], config["studies"][STUDY]
    settings = {**block["settings"]["armed"], **block["settings"][model], PRIOR_SCALE: 1.0}
    return {f: (block["data"] if f in OF_DATA else settings)[f] for f in FACTORS if given[f]}


def levels(config: Mapping, model: str) -> dict[str, list[float]]:
    """Levels of each factor that changes anything of a model's fits, in order, the own one among them."""
    own = own_levels(config, model)
    return {f: sorted({level, *config["sweeps"][f]}) for f, level in own.items() if applies(f, model)}


def find_inconsistencies(config: Mapping) -> Iterator[str]:
    """Problems between the sweeps' keys and the study's, one sentence each."""
    if not swept_models(config):
        return
    given, block, where = config["sweeps"], config["studies"][STUDY], f"studies.{STUDY}"
    if not any(given[factor] for factor in FACTORS):
        yield "sweeps has no level of any factor, but at least one was expected: null switches them off."
    if block["data"]["dataset_seed"] is not None:
        yield (
            f"{where}.data.dataset_seed is {block['data']['dataset_seed']}, but null was expected: sweeps compare datasets "
            "of their own for each seed (sweeps: null switches them off)."
        )
    if not block["data"]["n_probes"]:
        yield f"{where}.data.n_probes is 0, but at least 1 was expected: sweeps tell when a probe is taken for a feature."
    if given["lambda_g"] and block["settings"]["armed"]["adversary_units"] is None:
        yield f"sweeps.lambda_g is given, but [] was expected: {where}.settings.armed.adversary_units is null."
    if given["folds"] > block["folds"]:
        yield f"sweeps.folds is {given['folds']}, but at most {where}.folds, {block['folds']}, was expected."
    for size in [n for n in given["n_per_cluster"] if n < block["folds"]]:
        yield (
            f"sweeps.n_per_cluster has {size}, but at least {where}.folds, {block['folds']}, was expected: every fold is "
            "tested on points of every cluster."
        )
