# What the rules share: the package, the checked configuration, and the parameters that decide what runs again.
import functools
import gc
import os
import sys
from pathlib import Path

ROOT = Path(workflow.basedir).parent
sys.path.insert(0, str(ROOT))

from armed import config as configuration
from armed import registry, reproducibility, retrieval, run_folder

# The objects of a plan stay: with thousands of jobs a tenth of the time went into looking for garbage among them.
gc.set_threshold(100_000, 20, 100)
configuration.complete(config)
os.environ[run_folder.RUN_PROCESS] = str(os.getpid())
if workflow.is_main_process:
    run_folder.check(Path("results"))

STUDIES = configuration.selected_studies(config)
STAND_INS = range(max((len(configuration.datasets(config, study)) for study in STUDIES), default=0))
RECOVERY = configuration.recovery_settings(config)
MIRROR = retrieval.mirror_folder(config["data_mirror"])
TRAINING_ENVIRONMENT = "../envs/armed-gpu.yaml" if config["device"] == "cuda" else "../envs/armed.yaml"
TABLES = ["metrics", "cluster_metrics", "thresholds", "importance", "random_effects"]


wildcard_constraints:
    study="|".join(registry.STUDIES),
    model="|".join(registry.MODELS),
    name="|".join(sorted({study.raw for study in registry.STUDIES.values() if study.source == "open"})),


def code(*paths):
    """Digest of the sources that a job uses, among its parameters."""
    return [digest(path) for path in paths]


@functools.cache
def digest(path):
    """Digest of what one module uses: once for each, not for each of thousands of jobs."""
    return reproducibility.source_digests([path])[0]


def data_settings(wildcards):
    return configuration.data_settings(config, wildcards.study)


def data_code(wildcards):
    return code("armed.jobs.data", registry.study(wildcards.study).data)


def raw(wildcards):
    """The raw files that a study's data are made from."""
    kind = registry.study(wildcards.study).raw
    if kind == "volumes":
        return f"results/slices/{wildcards.study}"
    if kind == "movies":
        return f"results/frames/{wildcards.study}"
    if kind == "adnimerge" and (datasets := configuration.datasets(config, wildcards.study)):
        return [f"results/raw/adnimerge/{dataset}/ADNIMERGE.csv" for dataset in datasets]
    if kind in ("adnimerge", registry.OWN, registry.OWN_IMAGES):
        return config["studies"][wildcards.study]["data"]["path"]
    return f"results/raw/{kind}.json" if kind else []


def can_be_run():
    """The selected studies, less those whose open data could not be had."""
    return [study for study in STUDIES if registry.study(study).source != "open" or is_there(registry.study(study).raw)]


def is_there(name):
    """Whether open data are to be had: told by the mirror, else by the attempt to retrieve them."""
    if retrieval.available(retrieval.files_of(name), MIRROR):
        return True
    return retrieval.Receipt.read(checkpoints.retrieve.get(name=name).output[0]).problem == ""


def data_check(wildcards):
    """The check of a study's data, which comes before all else where they were not simulated."""
    return f"results/data_checks/{wildcards.study}.html" if registry.study(wildcards.study).raw else []


def data_checks(wildcards):
    return [f"results/data_checks/{study}.html" for study in can_be_run() if registry.study(study).raw]


def figures_done(wildcards):
    return [f"results/figures/.{study}.done" for study in can_be_run()]


def split_settings(wildcards):
    return configuration.split_settings(config, wildcards.study)


def model_settings(wildcards):
    return configuration.settings(config, wildcards.study, wildcards.model)


def method(wildcards):
    return registry.model(wildcards.model).method


def scored(wildcards):
    """What of a study is scored."""
    study = registry.study(wildcards.study)
    return [study.threshold, *study.partitions, *study.metrics]


def source(wildcards):
    return configuration.source(config, wildcards.study)


def fit_code(wildcards):
    tuned = wildcards.model in configuration.tuned_models(config, wildcards.study)
    return code(*reproducibility.sources_of_fit(registry.model(wildcards.model).method, tuned))


def predict_code(wildcards):
    used = ["armed.jobs.predict", registry.model(wildcards.model).method]
    if registry.model(wildcards.model).infers_clusters:
        used.append("armed.cluster_inference")
    return code(*used)


def inference_settings(wildcards):
    return configuration.cluster_inference_settings(config, wildcards.study)


def stack_size(wildcards):
    return config["studies"][wildcards.study]["stack_size"]


def weights(wildcards):
    """The fits that a model predicts with: its own, or those of the model it is an ablation of."""
    model = registry.model(wildcards.model).weights_from or wildcards.model
    return f"results/runs/{wildcards.study}/{model}"


def inference(wildcards):
    """The study's Z-predictor, for models that infer the clusters of unseen samples."""
    needed = registry.model(wildcards.model).infers_clusters
    return f"results/runs/{wildcards.study}/cluster_inference" if needed else []


def there(paths):
    """All of them; with `collect: available` those that exist."""
    if config["run"]["collect"] == "available":
        return [path for path in paths if Path(path).is_file()]
    return list(paths)


def parts(wildcards):
    """Each table's parts from every model of every study."""
    found = {**{table: parts_of(f"{table}.tsv") for table in TABLES}, "univariate": univariates()}
    found["auroc_intervals"] = of_coded("auroc_intervals.tsv")
    for table in ("metrics", "cluster_metrics"):
        found[table] += there(f"results/parts/{study}/{model}/saliency_{table}.tsv" for study, model in looked_at())
        found[table] += of_coded(f"latents_{table}.tsv")
    return found


def univariates():
    """Fits of single features, of the studies on visits of subjects at sites."""
    return there(f"results/univariate/{study}.tsv" for study in STUDIES if registry.study(study).raw == "adnimerge")


def recovered(wildcards):
    return there(["results/sensitivity.tsv"]) if RECOVERY or SWEPT else []


def drawn(wildcards):
    return parts_of("draws.parquet") + of_coded("latents_draws.parquet")


def parts_of(file):
    models = [(study, model) for study in can_be_run() for model in configuration.selected_models(config, study)]
    return there(f"results/parts/{study}/{model}/{file}" for study, model in models)
