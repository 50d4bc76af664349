"""The benchmark's configuration: reading it, checking it, and what each job depends on. Loads no torch.

`load` merges a configuration with its overlays as Snakemake's ``--configfile`` does, `check` tells every
problem at once, and the functions below them cut out what one rule needs, so that an edit reruns only the jobs
that it concerns.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from armed import config_checks, config_rules, own_studies, registry, sweep_config
from armed.errors import ConfigError, Problems, did_you_mean
from armed.tuning_config import tuning_settings

MOST_ENTRIES = 200_000
"""Of a configuration, aliases written out; ten lines of YAML can stand for billions, or for a block in itself."""
_ENDLESS = (
    f"has more than {MOST_ENTRIES} entries, aliases (*name) written out: take out those that refer to one another"
)
_OF_INFERENCE = ("epochs", "patience", "validation_fraction")  # keys of a Z-predictor that are not of its network


def load(paths: str | Path | Sequence[str | Path]) -> dict:
    """Read a configuration and its overlays.

    Parameters
    ----------
    paths : path or sequence of paths
        YAML or JSON files; later ones overlay earlier ones: blocks merge key by key, lists and values replace.

    Returns
    -------
    dict
        The merged configuration, not yet checked. No two of its blocks are the same object, whatever anchors
        the files use.

    Raises
    ------
    ConfigError
        If a file is missing, is not valid YAML, or holds no keys.
    """
    config: dict = {}
    for path in [paths] if isinstance(paths, str | Path) else paths:
        config = own_studies.overlay(config, _read(Path(path)))
    return _plain(config)


def check(config: Mapping) -> None:
    """Check a merged configuration: its keys and values, and what no schema can say.

    Parameters
    ----------
    config : mapping
        As `load` or Snakemake's ``configfile`` gives it. It is not changed.

    Raises
    ------
    ConfigError
        With one sentence for each problem: the key, the value given, what was expected, the nearest valid name.
    """
    problems = Problems(ConfigError, "the configuration")
    if not _is_finite(config):
        problems.add(_ENDLESS)
        problems.raise_if_any()
    for sentence in config_checks.find_problems(_plain(config)):
        problems.add(sentence)
    problems.raise_if_any()


def complete(config: dict) -> None:
    """Give the user's own studies their defaults, check the whole, and make the registry know them.

    Parameters
    ----------
    config : dict
        As Snakemake's ``configfile`` gives it; its block `studies` is completed in place.

    Raises
    ------
    ConfigError
        See `check`.
    """
    check(config)
    config.update(_plain(own_studies.complete(config)))
    own_studies.declare(config)


def selected_studies(config: Mapping) -> list[str]:
    """Ids of the studies to run, in the order of ``run.studies``."""
    return list(config["run"]["studies"])


def selected_models(config: Mapping, study: str) -> list[str]:
    """Ids of the selected models that apply to a study, in the order of ``run.models``."""
    return [model for model in config["run"]["models"] if registry.applies(model, study)]


def fit_models(config: Mapping, study: str) -> list[str]:
    """Ids of the selected models that are fitted: those that do not take another model's weights."""
    return [m for m in selected_models(config, study) if registry.model(m).weights_from is None]


def seeds(config: Mapping, study: str, model: str) -> list[int]:
    """Seeds a model is run for: 0, 1, ..., fewer where a library fits it and takes long."""
    key = "slow_seeds" if registry.model(model).slow else "seeds"
    return list(range(config["studies"][study][key]))


def tuned_models(config: Mapping, study: str) -> list[str]:
    """Ids of the selected models whose hyperparameters are searched, in the order of ``run.models``."""
    return [m for m in fit_models(config, study) if m in config["studies"][study]["tuning"]["models"]]


def data_variants(config: Mapping, study: str) -> list[str]:
    """Names of the study's data sets: ``main``, and ``resampled`` and others where the configuration asks for them."""
    given = data_settings(config, study)["data"]
    return [name for name in registry.study(study).data_variants if name == "main" or given[name]]


def source(config: Mapping, study: str) -> str:
    """What data a study has: the registry's word, but ``restricted`` where the real file is there in place of a stand-in."""
    entry = registry.study(study)
    return "restricted" if entry.source == "stand-in" and has_real_data(config, study) else entry.source


def datasets(config: Mapping, study: str) -> list[int]:
    """Numbers of the stand-in tables that a study needs; none where it has no such stand-in, or the real file is there."""
    if registry.study(study).raw != "adnimerge" or has_real_data(config, study):
        return []
    block = config["studies"][study]
    return list(range(block["seeds"] if block["data"]["resampled"] else 1))


def recovery_settings(config: Mapping) -> dict | None:
    """What the recovery study depends on (`armed.jobs.recovery`); None where it is not run."""
    study = "mci_conversion"
    wanted = config["recovery"]
    if wanted is None or study not in selected_studies(config) or not datasets(config, study):
        return None
    models = [m for m in ("armed", "armed_no_adversary") if m in selected_models(config, study)]
    block = config["studies"][study]
    keys = ("study", "kind", "preparation", "network", "training", "torch_threads")
    of_models = {}
    for model in models:
        given = settings(config, study, model)
        of_models[model] = {key: given[key] for key in keys} | {"variants": {"main": given["variants"]["main"]}}
    shared = {"n_seen": block["data"]["n_seen"], "validation_fraction": block["validation_fraction"]}
    return _ordered({**wanted, **shared, "models": of_models}) if models else None


def sweep_settings(config: Mapping, model: str) -> dict:
    """What the sweeps of one model depend on (`armed.jobs.sweeps`).

    Parameters
    ----------
    config : mapping
        A checked configuration whose `armed.sweep_config.swept_models` has the model.
    model : str

    Returns
    -------
    dict
        ``factors`` (those that apply to the model, with their levels), ``own`` (the own level of every factor), ``datasets``,
        ``folds``, ``data``, ``split``, ``fit`` (`settings`, variant ``main`` alone), and for models that infer clusters
        ``inference`` (`cluster_inference_settings`).
    """
    study, given = sweep_config.STUDY, config["sweeps"]
    of_model = {k: v for k, v in settings(config, study, model).items() if k not in ("seeds", "tuning")}
    found = {
        "factors": sweep_config.levels(config, model),
        "own": sweep_config.own_levels(config, model),
        "datasets": given["datasets"],
        "folds": given["folds"],
        "data": config["studies"][study]["data"],
        "split": {k: v for k, v in split_settings(config, study).items() if k not in ("seeds", "study")},
        "fit": of_model | {"variants": {"main": of_model["variants"]["main"]}},
    }
    if registry.model(model).infers_clusters:
        inference = cluster_inference_settings(config, study)
        found["inference"] = {k: v for k, v in inference.items() if k != "seeds"}
    return _ordered(found)


def has_real_data(config: Mapping, study: str) -> bool:
    """Whether the real file, or folder, of a study that has a stand-in is where ``data.path`` says."""
    path = Path(config["studies"][study]["data"]["path"])
    kind = registry.study(study).raw
    return path.is_dir() if kind == "volumes" else path.is_file() or (kind == "movies" and path.is_dir())


def settings(config: Mapping, study: str, model: str) -> dict:
    """What the fit of one model in one study depends on, apart from its data and folds.

    Parameters
    ----------
    config : mapping
        A checked configuration.
    study, model : str
        Ids of the registry.

    Returns
    -------
    dict
        ``study``, ``model``, ``seeds`` (list of int) and ``variants``: name -> all settings of the model, ``main``
        first. Models that torch trains also have ``network``, ``training`` and ``torch_threads``, and those that are
        tuned ``tuning`` (`armed.tuning_config.tuning_settings`). Values that change no result (``stack_size``,
        ``device``) and those of other models and studies are absent. The order of the keys does not depend on their order
        in the files.
    """
    block, entry = config["studies"][study], registry.model(model)
    changes = block.get("variants", {}).get(model, {})
    names = ["main", *(name for name, change in changes.items() if change is not None)]
    found = {
        "study": study,
        "model": model,
        "seeds": seeds(config, study, model),
        "variants": {name: config_rules.variant_settings(block, model, name) for name in names},
        "kind": registry.study(study).kind,
        "preparation": list(registry.study(study).preparation),
    }
    if entry.engine == "stack" and entry.weights_from is None:
        found |= {key: block[key] for key in ("network", "training", "torch_threads")}
    if model in block["tuning"]["models"]:
        found["tuning"] = tuning_settings(block, model)
    return _ordered(found)


def slice_settings(config: Mapping, study: str) -> dict:
    """What the slices of a study on volumes depend on, apart from the volumes."""
    data = config["studies"][study]["data"]
    return {key: data[key] for key in ("image_size", "registration", "seen")}


def frame_settings(config: Mapping, study: str) -> dict:
    """What the frames of a study on movies depend on, apart from the movies."""
    data = config["studies"][study]["data"]
    return {key: data[key] for key in ("image_size", "seen", "seen_step", "unseen_step")}


def data_settings(config: Mapping, study: str) -> dict:
    """What a study's data depend on, apart from its raw files.

    Returns
    -------
    dict
        ``study``, ``data`` (its block) and ``seeds``: those with a dataset of their own, none where all share one. Real data
        in place of a stand-in cannot be resampled.
    """
    block = config["studies"][study]
    data = dict(block["data"])
    if registry.study(study).raw == "adnimerge":
        data["resampled"] = data["resampled"] and not has_real_data(config, study)
    own = data.get("dataset_seed", "none given") is None or data.get("resampled", False)
    return _ordered({"study": study, "data": data, "seeds": list(range(block["seeds"] if own else 0))})


def fit_memory_mb(config: Mapping, study: str) -> int:
    """Memory that a fit reserves, in MB: 2000, and more for large images or a large table of the user's own.

    Of images about 8 copies of what the convolutions of a batch put out, of an autoencoder twice as much; measured were 5 to 7
    (benchmarks/README.md). Of a table 3 times its file: its numbers take 12 bytes each, and features prepared for the folds
    are copies.
    """
    block = config["studies"][study]
    network, size = block["network"], block["data"].get("image_size", 0)
    filters, floats = network.get("filters", []), 0
    for i, n_filters in enumerate(filters):
        halves = i >= len(filters) - network["strided"] if "latent" in network else i > 0
        size = size // 2 if halves and size > 3 else size
        floats += n_filters * size**2
    floats *= block["training"]["batch_size"] * (2 if "latent" in network else 1)
    path = Path(block["data"]["path"]) if study not in registry.BUILT_IN and not filters else None
    table = path.stat().st_size if path is not None and path.is_file() else 0
    return max(2000, round(1500 + (8 * 4 * floats + 3 * table) / 1e6))


def split_settings(config: Mapping, study: str) -> dict:
    """What a study's folds depend on, apart from its data: ``study``, ``folds``, the fractions held out, and ``seeds``."""
    block = config["studies"][study]
    found = {key: block[key] for key in ("folds", "test_fraction", "validation_fraction")}
    return {"study": study, **found, "seeds": list(range(block["seeds"]))}


def cluster_inference_settings(config: Mapping, study: str) -> dict:
    """What a study's Z-predictor depends on, apart from its data and folds.

    Returns
    -------
    dict
        ``study``, ``seeds``, ``torch_threads``; and ``network``, ``training`` and ``validation_fraction`` as
        `armed.ClusterInference` takes them, with batch size and learning rate of the study's training.
    """
    block = config["studies"][study]
    own, shared = block["cluster_inference"], block["training"]
    found = {
        "study": study,
        "seeds": list(range(block["seeds"])),
        "torch_threads": block["torch_threads"],
        "network": {key: value for key, value in own.items() if key not in _OF_INFERENCE},
        "training": {"epochs": own["epochs"], "patience": own["patience"]}
        | {key: shared[key] for key in ("batch_size", "learning_rate", "optimiser", "precision")},
        "validation_fraction": own["validation_fraction"],
        "preparation": list(registry.study(study).preparation),
    }
    return _ordered(found)


def _read(path: Path) -> dict:
    if not path.is_file():
        near = did_you_mean(path.name, (p.name for p in path.parent.glob("*.yaml")))
        raise ConfigError(f"There is no configuration file '{path}'.{near}")
    try:
        text = path.read_text(encoding="utf-8")
        block = json.loads(text) if path.suffix == ".json" else config_checks.parse_yaml(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"The configuration file '{path}' is not valid YAML or JSON: {error}") from error
    if not _is_finite(block):
        raise ConfigError(f"The configuration file '{path}' {_ENDLESS}.")
    if not isinstance(block, dict):
        given = config_rules.show(block)
        raise ConfigError(f"The configuration file '{path}' holds {given}, but keys with values were expected.")
    return block


def _is_finite(block: object) -> bool:
    """Whether a block has at most `MOST_ENTRIES`, each counted as often as it is reached."""
    waiting, entries = [block], 0
    while waiting:
        value = waiting.pop()
        inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
        waiting.extend(inner)
        entries += len(inner)
        if entries > MOST_ENTRIES:
            return False
    return True


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(key): _plain(v) for key, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value


def _ordered(value: object) -> object:
    """A deep copy with sorted keys, ``main`` first: an overlay changes their order, which must rerun nothing."""
    if isinstance(value, Mapping):
        return {key: _ordered(value[key]) for key in sorted(value, key=lambda k: (k != "main", k))}
    return [_ordered(v) for v in value] if isinstance(value, list | tuple) else value
