# What the tables over all studies are made from: claims, sweeps.
from armed import claims, sweep_config

SWEPT = sweep_config.swept_models(config)


def balanced(wildcards):
    """The data of studies with claims about the class balance of their clusters."""
    claimed = {s for claim in claims.load() if claim.statistic == "balance_correlation" for s in claim.studies}
    return there(f"results/data/{study}.npz" for study in can_be_run() if study in claimed)


def claimed_effects(wildcards):
    """Random effects of the models with claims about them."""
    of_effects = [claim for claim in claims.load() if claim.statistic.endswith("_correlation")]
    claimed = {(study, claim.first.model) for claim in of_effects for study in claim.studies}
    models = [(s, m) for s in can_be_run() for m in configuration.selected_models(config, s) if (s, m) in claimed]
    return there(f"results/parts/{study}/{model}/random_effects.tsv" for study, model in models)


def sensitivity_parts(wildcards):
    """What was measured at several levels of something."""
    parts = ["results/parts/recovery.tsv"] if RECOVERY else []
    return there(parts + [f"results/parts/sweeps/{model}.tsv" for model in SWEPT])


def sweep_code(wildcards):
    study, model = registry.study(sweep_config.STUDY), registry.model(wildcards.model)
    inference = ["armed.cluster_inference"] * model.infers_clusters
    return code("armed.jobs.sweeps", study.data, model.method, *inference)


def tuned_runs(wildcards):
    """The fits that hold a search for hyperparameters."""
    return [
        run
        for study in can_be_run()
        for model in configuration.tuned_models(config, study)
        if Path(run := f"results/runs/{study}/{model}").is_dir() or config["run"]["collect"] == "complete"
    ]


def boundaries(wildcards):
    """The decision boundaries of a simulation's models."""
    if wildcards.study not in registry.SPIRALS:
        return []
    models = configuration.selected_models(config, wildcards.study)
    return there(f"results/boundaries/{wildcards.study}/{model}.parquet" for model in models)


def predicted(wildcards):
    """The predictions of a study on real or stand-in data, whose curves are drawn."""
    if wildcards.study in registry.SPIRALS:
        return []
    models = configuration.selected_models(config, wildcards.study)
    return there(f"results/predictions/{wildcards.study}/{model}.parquet" for model in models)
