"""Problems between the keys of a configuration, which no schema can say. Loads no torch."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from armed import own_studies, registry, sweep_config, tuning_config
from armed.errors import did_you_mean


def variant_settings(block: Mapping, model: str, variant: str) -> dict:
    """All settings of one variant of a model, given the block of its study."""
    change = {} if variant == "main" else block["variants"][model][variant]
    return {**block["settings"][model], **(change or {})}


def show(value: object) -> str:
    """A value as a reader would write it, shortened."""
    if isinstance(value, str):
        return repr(value)
    if isinstance(value, dict):
        return f"a block of keys ({', '.join(value) or 'empty'})"
    text = json.dumps(value, default=str).replace('"', "'")
    return text if len(text) <= 60 else text[:57] + "..."


def find_inconsistencies(config: dict, complete: bool) -> list[str]:
    """Problems between keys. What depends on a missing or wrong key cannot be judged and waits for its cure."""
    found: list[str] = []

    def ask(rule: Callable[..., Iterator[str]], *where: str) -> None:
        try:
            found.extend(rule(config, *where))
        except KeyError:
            if complete:
                raise

    def ask_variants(rule: Callable[..., Iterator[str]], study: str, model: str, variants: Iterable[str]) -> None:
        """Tell of a variant what is not already wrong with the settings that it changes."""
        told = len(found)
        ask(rule, study, model, "main")
        main = {s.partition(f".settings.{model}")[2] for s in found[told:]}
        for variant in variants:
            told = len(found)
            ask(rule, study, model, variant)
            found[told:] = [s for s in found[told:] if s.partition(f".variants.{model}.{variant}")[2] not in main]

    ask(_selection)
    ask(sweep_config.find_inconsistencies)
    for study in config.get("run", {}).get("studies", []):
        block = config.get("studies", {}).get(study)
        if block is None:
            found.append(f"studies.{study} is missing, but a block was expected: run.studies selects '{study}'.")
            continue
        for rule in _STUDY_RULES:
            ask(rule, study)
        for model in tuning_config.searched(config, study):
            ask(tuning_config.find_space_problems, study, model)
        for model in [m for m in block.get("settings", {}) if m in config["run"].get("models", ())]:
            for rule in (_slopes, _adversary, _meta_learning):
                ask_variants(rule, study, model, block.get("variants", {}).get(model, ()))
    return found


def _selection(config: dict) -> Iterator[str]:
    studies, models = config["run"]["studies"], config["run"]["models"]
    for model in models:
        entry = registry.MODELS[model]
        if entry.weights_from and entry.weights_from not in models:
            yield (
                f"run.models selects '{model}', but '{entry.weights_from}', whose trained weights it uses, was "
                "expected there too."
            )
    for study in studies:
        if models and not any(_applies(config, model, study) for model in models):
            names = ", ".join(model for model in registry.MODELS if _applies(config, model, study))
            yield f"run.models has no model for study '{study}', but at least one was expected of {names}."


def _selected_settings(config: dict, study: str) -> Iterator[str]:
    given = config["studies"][study]["settings"]
    for model in config["run"]["models"]:
        if model not in given and _applies(config, model, study):
            yield f"studies.{study}.settings.{model} is missing, but a block was expected: run.models selects it."


def _seeds_and_folds(config: dict, study: str) -> Iterator[str]:
    block, where = config["studies"][study], f"studies.{study}"
    few, seeds, folds, data = block["slow_seeds"], block["seeds"], block["folds"], block["data"]
    if few > seeds:
        yield f"{where}.slow_seeds is {few}, but at most {where}.seeds, {seeds}, was expected."
    if folds < 2 and block["test_fraction"] is None:
        yield (
            f"{where}.folds is {folds}, but at least 2 was expected: {where}.test_fraction is null, so that they are "
            "those of a cross-validation."
        )
    if study in registry.SPIRALS and folds > data["n_per_cluster"]:
        yield (
            f"{where}.folds is {folds}, but at most {where}.data.n_per_cluster, {data['n_per_cluster']}, was expected: "
            "every fold is tested on points of every cluster."
        )


def _training(config: dict, study: str) -> Iterator[str]:
    block, where = config["studies"][study], f"studies.{study}"
    training, held = block["training"], block["validation_fraction"]
    if training["patience"] is not None and not held:
        yield (
            f"{where}.training.patience is {training['patience']}, but null was expected: {where}.validation_fraction is 0, "
            "nothing is held out to stop training by."
        )
    kind = _kind(config, study)
    if kind != "binary" and training["patience"] is not None and training["monitor"] != "loss":
        yield f"{where}.training.monitor is '{training['monitor']}', but 'loss' was expected for {kind} labels."
    if kind == "continuous" and training["class_weights"] != "none":
        yield f"{where}.training.class_weights is '{training['class_weights']}', but 'none' was expected for continuous labels."


def _data(config: dict, study: str) -> Iterator[str]:
    if study in registry.SPIRALS:
        yield from _spirals(config, study)
    elif study not in registry.BUILT_IN:
        yield from _own_file(config, study)
        if own_studies.listed(config, study) == registry.OWN:
            yield from _own_columns(config, study)


def _own_file(config: dict, study: str) -> Iterator[str]:
    data, where = config["studies"][study]["data"], f"studies.{study}.data"
    for key in ("label", "cluster"):
        if data[key] is None:
            yield f"{where}.{key} is null, but the name of a column of the table was expected."
    if data["kind"] != "binary" and data["positive"] is not None:
        yield f"{where}.positive is {show(data['positive'])}, but null was expected for {data['kind']} labels."
    path = Path(data["path"])
    if not path.is_file():
        near = did_you_mean(path.name, [p.name for p in path.parent.glob("*")] if path.parent.is_dir() else [])
        yield (
            f"{where}.path is '{path}', but a file was expected; there is none of that name, seen from the folder that "
            f"Snakemake works in.{near}"
        )


def _own_columns(config: dict, study: str) -> Iterator[str]:
    data, where = config["studies"][study]["data"], f"studies.{study}.data"
    roles = {key: data[key] for key in ("label", "cluster", "subject") if data[key] is not None}
    for key, column in roles.items():
        if column in (data["features"] or []) and key != "subject":
            yield f"{where}.features lists '{column}', but no feature was expected that is the {key}."
        if column in data["drop"]:
            yield f"{where}.drop lists '{column}', but it is the {key}."


def _spirals(config: dict, study: str) -> Iterator[str]:
    data, where = config["studies"][study]["data"], f"studies.{study}.data"
    if data["n_probes"] and data["n_per_unseen_cluster"] % 2:
        yield (
            f"{where}.n_per_unseen_cluster is {data['n_per_unseen_cluster']}, but an even number was expected: with probes, "
            "each cluster of the deconfounded partition is half of one class, half of the other."
        )
    if data["resampled"] and data["dataset_seed"] is None:
        yield (
            f"{where}.resampled is true, but false was expected: with {where}.dataset_seed null every seed already has "
            "a dataset of its own."
        )
    elif data["resampled"] and "resampled" not in registry.STUDIES[study].data_variants:
        yield f"{where}.resampled is true, but false was expected: '{study}' has no variant 'resampled'."


def _variant_names(config: dict, study: str) -> Iterator[str]:
    block = config["studies"][study]
    variants = registry.STUDIES[study].data_variants if study in registry.BUILT_IN else ()
    taken = ("main", registry.TUNED, *(v for v in variants if v != "main"))
    for model, variants in block["variants"].items():
        where = f"studies.{study}.variants.{model}"
        for name in [v for v in variants if v in taken]:
            yield f"{where}.{name} uses a taken name, but one other than {', '.join(taken)} was expected."
        if variants and model not in block["settings"]:
            yield f"{where} is given, but studies.{study}.settings.{model}, which it changes, is missing."


def _variant(config: dict, study: str, model: str, variant: str) -> tuple[dict, str]:
    """Settings of one variant, and the key under which a reader finds them."""
    where = f"settings.{model}" if variant == "main" else f"variants.{model}.{variant}"
    return variant_settings(config["studies"][study], model, variant), f"studies.{study}.{where}"


def _slopes(config: dict, study: str, model: str, variant: str) -> Iterator[str]:
    given, where = _variant(config, study, model, variant)
    if "slope_prior_sd" not in given or given["slopes"] is None:
        return
    layers = ["input", *hidden_layers(config["studies"][study]["network"])]
    if given["slopes"] not in layers:
        yield (
            f"{where}.slopes is '{given['slopes']}', but {', '.join(layers)} or null was expected."
            f"{did_you_mean(given['slopes'], layers)}"
        )


def _adversary(config: dict, study: str, model: str, variant: str) -> Iterator[str]:
    given, where = _variant(config, study, model, variant)
    if "lambda_F" not in given:
        return
    units, weight = given["adversary_units"], given["lambda_g"]
    if registry.MODELS[model].adversary and units is None and weight > 0:
        yield f"{where}.lambda_g is {weight}, but 0 was expected: adversary_units is null, there is no adversary."
    if not registry.MODELS[model].adversary and (units is not None or weight > 0):
        yield (
            f"{where} has adversary_units {show(units)} and lambda_g {weight}, but null and 0 were expected: '{model}' "
            "has no adversary."
        )


def _meta_learning(config: dict, study: str, model: str, variant: str) -> Iterator[str]:
    given, where = _variant(config, study, model, variant)
    key = {registry.IMAGES: "seen", registry.SPIRALS: "n_clusters"}
    key = next((name for studies, name in key.items() if study in studies), "n_seen")
    clusters = config["studies"][study]["data"].get(key)
    clusters = len(clusters) if isinstance(clusters, list) else clusters
    if clusters is not None and given.get("meta_test_clusters", 0) >= clusters:
        yield (
            f"{where}.meta_test_clusters is {given['meta_test_clusters']}, but less than "
            f"studies.{study}.data.{key}, {clusters}, was expected: a cluster must be left to train on."
        )


def hidden_layers(network: Mapping) -> list[str]:
    """Names of a network's hidden layers: the dense ones; the convolutions and the dense one behind them; of an autoencoder
    the encoder's, the code, and the classifier's."""
    if "latent" in network:
        return [*(f"encoder.{i}" for i in range(len(network["filters"]))), "latent", "classifier.hidden"]
    n = len(network["filters"]) + 1 if "filters" in network else len(network["hidden"])
    return [f"hidden.{i}" for i in range(n)]


def _images(config: dict, study: str) -> Iterator[str]:
    block, where = config["studies"][study], f"studies.{study}"
    if "filters" not in block["network"]:
        return
    n_filters = len(block["network"]["filters"])
    for model, given in block["settings"].items():
        filters = given.get("adversary_filters")
        if model in config["run"]["models"] and filters is not None and len(filters) != n_filters:
            yield (
                f"{where}.settings.{model}.adversary_filters has {len(filters)} numbers, but {n_filters} were expected: one "
                "for each convolution of the network."
            )
    if "latent" in block["network"]:
        yield from _halved(block, where)


def _halved(block: Mapping, where: str) -> Iterator[str]:
    """Images that an autoencoder cannot halve as often as it should."""
    network, size = block["network"], block["data"]["image_size"]
    if network["strided"] > len(network["filters"]):
        yield (
            f"{where}.network.strided is {network['strided']}, but at most {len(network['filters'])}, the number of filters, "
            "was expected."
        )
    elif size % (step := 2 ** network["strided"]):
        yield (
            f"{where}.data.image_size is {size}, but a multiple of {step} was expected, as {network['strided']} convolutions "
            f"halve the image; the nearest is {max(step, round(size / step) * step)}."
        )


def _saliency(config: dict, study: str) -> Iterator[str]:
    block, where = config["studies"][study], f"studies.{study}"
    if "saliency" not in block:
        return
    maps = hidden_layers(block["network"])[:-1]
    layer = block["saliency"]["layer"]
    if layer.removesuffix(".activation") not in maps:
        yield (
            f"{where}.saliency.layer is '{layer}', but a convolution was expected, one of {', '.join(maps)} (or its "
            f"'.activation', before pooling).{did_you_mean(layer, maps)}"
        )
    rejected = block["data"]["rejected"]
    if rejected is not None and not Path(rejected).is_file():
        yield (
            f"{where}.data.rejected is '{rejected}', but a file was expected that lists the slices to leave out (one sample a "
            "line), or null."
        )


_STUDY_RULES = (
    *(_selected_settings, _seeds_and_folds, _training, _data, _images, _saliency, _variant_names),
    tuning_config.find_inconsistencies,
)


def _kind(config: dict, study: str) -> str:
    """Kind of a study's labels; of the user's own studies the configuration says it, not yet the registry."""
    return registry.STUDIES[study].kind if study in registry.BUILT_IN else config["studies"][study]["data"]["kind"]


def _applies(config: dict, model: str, study: str) -> bool:
    entry = registry.MODELS[model]
    try:
        listed = study if study in registry.BUILT_IN else own_studies.listed(config, study)
        return listed in entry.studies and _kind(config, study) in entry.kinds
    except KeyError:  # the study's own block is wrong, and told
        return True
