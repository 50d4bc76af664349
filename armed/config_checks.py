"""Checks of a configuration: the schema completed from the registry, and what no schema can say. Loads no torch."""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import yaml
from jsonschema import Draft202012Validator, validators
from jsonschema.exceptions import ValidationError

from armed import registry, tuning_config
from armed.errors import did_you_mean

SCHEMA = Path(__file__).resolve().parent.parent / "workflow" / "schemas" / "config.schema.yaml"
_VARIANT_NAME = "^[A-Za-z][A-Za-z0-9_]*$"
_TYPES = {
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "boolean": "true or false",
    "array": "a list",
    "object": "a block of keys",
    "null": "null",
}
_LIMITS = {
    "minimum": "of at least",
    "exclusiveMinimum": "above",
    "maximum": "of at most",
    "exclusiveMaximum": "below",
}

_MEANT = {"gpu": "cuda"}  # by spelling, the nearest device would be the cpu


def find_problems(config: dict) -> list[str]:
    """One sentence for each problem of a merged configuration, which is changed: wrong values are taken out."""
    errors = sorted(_Validator(schema()).iter_errors(config), key=lambda e: _dotted(e.absolute_path))
    sentences = [sentence for error in errors for sentence in _explain(error)]
    # From the end of each list, so that the positions of the entries before it stay right.
    for error in sorted(errors, key=lambda e: [str(p).zfill(9) for p in e.absolute_path], reverse=True):
        _take_out(config, error)
    wrong = tuple(f"{_dotted(error.absolute_path)} is missing" for error in errors)
    sentences += [s for s in _inconsistencies(config, complete=not errors) if not s.startswith(wrong)]
    return list(dict.fromkeys(sentences))


def variant_settings(block: Mapping, model: str, variant: str) -> dict:
    """All settings of one variant of a model, given the block of its study."""
    change = {} if variant == "main" else block["variants"][model][variant]
    return {**block["settings"][model], **(change or {})}


def parse_yaml(text: str) -> object:
    """Parse YAML 1.1, as Snakemake does."""
    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


@functools.cache
def schema() -> dict:
    """The JSON schema of a merged configuration, with the registry's ids filled in (do not change it)."""
    raw = parse_yaml(SCHEMA.read_text(encoding="utf-8"))
    return _complete(raw, raw["x-forms"])


def _complete(node: object, forms: Mapping) -> object:
    """Replace the ``x-`` words that the head of the schema file explains, and require every listed key."""
    if isinstance(node, list):
        return [_complete(item, forms) for item in node]
    if not isinstance(node, dict):
        return node
    done = {key: _complete(value, forms) for key, value in node.items() if not key.startswith("x-")}
    if "x-enum" in node:
        tuned = [m.id for m in registry.MODELS.values() if m.tunable]
        done["enum"] = list({"studies": registry.STUDIES, "models": registry.MODELS, "tuned": tuned}[node["x-enum"]])
    if "x-studies" in node:
        forms_of = {s.id: s.data.partition(":")[0].rpartition(".")[2] for s in registry.STUDIES.values()}
        done["properties"] = {study: _complete(forms[form], forms) for study, form in forms_of.items()}
    if "x-variants" in node:
        settings = _complete(node["x-variants"], forms)
        done["properties"] = {model: _variants_of(block) for model, block in settings.items()}
    if "x-space" in node:
        rules = {name: _complete(rule, forms) for name, rule in node["x-space"].items()}
        done["properties"] = {m.id: _space_of(m, rules) for m in registry.MODELS.values() if m.tunable}
    if "type" in done and isinstance(done.get("properties"), dict):
        done.setdefault("required", list(done["properties"]))
    return done


def _variants_of(block: dict) -> dict:
    changes = {**block, "type": ["object", "null"], "required": []}
    return {
        "description": "Variants of this model: name -> the settings that differ from `main`.",
        "type": "object",
        "additionalProperties": False,
        "patternProperties": {_VARIANT_NAME: changes},
    }


def _space_of(model: registry.Model, rules: Mapping) -> dict:
    """Values to try of each hyperparameter: a list, or a range; each value by the rule of the setting itself."""
    own = {"learning_rate": rules["learning_rate"], **rules["settings"][model.id]["properties"]}
    properties = {}
    for name in model.tunable:
        value = {key: own[name][key] for key in ("description", "type", *_LIMITS) if key in own[name]}
        properties[name] = {
            "description": f"Values to try: {own[name]['description']}",
            "type": ["array", "object", "null"],
            "minItems": 1,
            "items": value,
            "additionalProperties": False,
            "properties": {"low": value, "high": value, "scale": rules["scale"]},
            "required": ["low", "high", "scale"],
        }
    return {
        "description": f"Search space of {model.label}; null leaves a hyperparameter out.",
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
        "required": [],
    }


def _is_whole(_: object, value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(_: object, value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


# JSON Schema takes 20.0 for an integer and infinity for a number; `range` and the optimisers do not.
_STRICT = Draft202012Validator.TYPE_CHECKER.redefine_many({"integer": _is_whole, "number": _is_number})
_Validator = validators.extend(Draft202012Validator, type_checker=_STRICT)


def _dotted(path: Sequence[str | int]) -> str:
    return "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in path).removeprefix(".")


def show(value: object) -> str:
    """A value as a reader would write it, shortened."""
    if isinstance(value, str):
        return repr(value)
    if isinstance(value, dict):
        return f"a block of keys ({', '.join(value) or 'empty'})"
    text = json.dumps(value, default=str).replace('"', "'")
    return text if len(text) <= 60 else text[:57] + "..."


def _explain(error: ValidationError) -> Iterator[str]:
    path, value, rule = list(error.absolute_path), error.instance, error.schema
    known = rule.get("properties", {})
    if error.validator == "additionalProperties" and "patternProperties" in rule:
        for key in [k for k in value if not re.search(_VARIANT_NAME, k)]:
            yield f"{_dotted([*path, key])} names a variant, but a letter, then letters, digits or '_' were expected."
    elif error.validator == "additionalProperties":
        names = f"Expected one of {', '.join(known)}." if known else "No keys are expected there."
        for key in [k for k in value if k not in known]:
            yield f"{_dotted([*path, key])} is an unknown key.{_nearest(key, known)} {names}"
    elif error.validator == "required":
        for key in [k for k in error.validator_value if k not in value]:
            yield f"{_dotted([*path, key])} is missing, but {_expected(known[key])} was expected."
    elif error.validator == "uniqueItems":
        twice = dict.fromkeys(show(v) for v in value if value.count(v) > 1)
        yield f"{_dotted(path)} lists {', '.join(twice)} more than once, but different entries were expected."
    else:
        yield f"{_dotted(path)} is {show(value)}, but {_expected(rule)} was expected.{_hint(value, rule)}"


def _expected(rule: Mapping) -> str:
    """What a rule of the schema allows, in words."""
    if "enum" in rule:
        return f"one of {', '.join(map(str, rule['enum']))}"
    kinds = []
    for kind in [rule["type"]] if isinstance(rule["type"], str) else rule["type"]:
        text = _TYPES[kind]
        if kind in ("integer", "number"):
            limits = [f"{words} {rule[limit]}" for limit, words in _LIMITS.items() if limit in rule]
            text = f"{text} {' and '.join(limits)}".strip()
        if kind == "string" and "pattern" in rule:
            text = f"'{rule['pattern'].strip('^$')}'"
        if kind == "array":
            text = f"a {'non-empty ' * ('minItems' in rule)}list (each entry {_expected(rule['items'])})"
        if kind == "object" and "required" in rule and "array" in rule["type"]:
            text = f"a block of {', '.join(rule['required'])}"
        kinds.append(text)
    return " or ".join([*([", ".join(kinds[:-1])] if kinds[1:] else []), kinds[-1]])


def _hint(value: object, rule: Mapping) -> str:
    kinds = rule.get("type", [])
    if "enum" in rule:
        return _nearest(value, rule["enum"])
    if value is None and "object" in kinds:
        return " An empty key replaces the whole block: leave the key out to keep the defaults."
    if isinstance(value, str) and ("number" in kinds or "integer" in kinds):
        return _hint_number(value.strip().lower(), whole="integer" in kinds)
    return ""


def _nearest(name: object, valid: Iterable[str]) -> str:
    """The nearest valid name; one that differs in case alone (lambda_f) before others (lambda_g)."""
    name = _MEANT.get(str(name), str(name))
    return did_you_mean(name, [v for v in valid if v.lower() == name.lower()] or valid)


def _hint_number(text: str, whole: bool) -> str:
    """How to write a number that was read as text: YAML 1.1 wants a point and a signed exponent."""
    try:
        value = float(text)
    except ValueError:
        return ""
    if not math.isfinite(value):
        return ""
    mantissa, e, exponent = text.partition("e")
    if whole or not e:
        return f" It is text: write {int(value) if value.is_integer() else mantissa} without quotes."
    mantissa = mantissa if "." in mantissa else f"{mantissa}.0"
    return f" YAML 1.1 reads it as text: write {mantissa}e{int(exponent):+d}."


def _take_out(config: dict, error: ValidationError) -> None:
    """Take a wrong value out, so that the checks between keys see only values of the right kind."""
    path = list(error.absolute_path)
    if not path or error.validator in ("additionalProperties", "required", "uniqueItems"):
        return
    if isinstance(path[-1], int) and error.validator != "enum":
        path.pop()  # a list of numbers with a wrong one says nothing about its length
    try:
        del functools.reduce(lambda block, key: block[key], path[:-1], config)[path[-1]]
    except (KeyError, IndexError):
        return  # gone with an earlier error


def _inconsistencies(config: dict, complete: bool) -> list[str]:
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
    for study in config.get("run", {}).get("studies", []):
        block = config.get("studies", {}).get(study)
        if block is None:
            found.append(f"studies.{study} is missing, but a block was expected: run.studies selects '{study}'.")
            continue
        for rule in (_selected_settings, _seeds_and_folds, _data, _variant_names, tuning_config.find_inconsistencies):
            ask(rule, study)
        for model in tuning_config.searched(config, study):
            ask(tuning_config.find_space_problems, study, model)
        for model in block.get("settings", {}):
            for rule in (_slopes, _adversary, _meta_learning):
                ask_variants(rule, study, model, block.get("variants", {}).get(model, ()))
    return found


def _selection(config: dict) -> Iterator[str]:
    studies, models = config["run"]["studies"], config["run"]["models"]
    for model in models:
        entry = registry.MODELS[model]
        if not set(entry.studies) & set(studies):
            yield (
                f"run.models selects '{model}', but no study in run.studies has it: one of {', '.join(entry.studies)} "
                "was expected."
            )
        if entry.weights_from and entry.weights_from not in models:
            yield (
                f"run.models selects '{model}', but '{entry.weights_from}', whose trained weights it uses, was "
                "expected there too."
            )
    for study in studies:
        if models and not any(study in registry.MODELS[model].studies for model in models):
            names = ", ".join(registry.models_for(study))
            yield f"run.models has no model for study '{study}', but at least one was expected of {names}."


def _selected_settings(config: dict, study: str) -> Iterator[str]:
    given = config["studies"][study]["settings"]
    for model in config["run"]["models"]:
        if model not in given and study in registry.MODELS[model].studies:
            yield f"studies.{study}.settings.{model} is missing, but a block was expected: run.models selects it."


def _seeds_and_folds(config: dict, study: str) -> Iterator[str]:
    block, where = config["studies"][study], f"studies.{study}"
    few, seeds, folds, data = block["statsmodels_seeds"], block["seeds"], block["folds"], block["data"]
    if few > seeds:
        yield f"{where}.statsmodels_seeds is {few}, but at most {where}.seeds, {seeds}, was expected."
    if folds > data["n_per_cluster"]:
        yield (
            f"{where}.folds is {folds}, but at most {where}.data.n_per_cluster, {data['n_per_cluster']}, was expected: "
            "every fold is tested on points of every cluster."
        )


def _data(config: dict, study: str) -> Iterator[str]:
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
    taken = ("main", registry.TUNED, *(v for v in registry.STUDIES[study].data_variants if v != "main"))
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
    layers = ["input", *(f"hidden.{i}" for i in range(len(config["studies"][study]["network"]["hidden"])))]
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
    clusters = config["studies"][study]["data"]["n_clusters"]
    if given.get("meta_test_clusters", 0) >= clusters:
        yield (
            f"{where}.meta_test_clusters is {given['meta_test_clusters']}, but less than "
            f"studies.{study}.data.n_clusters, {clusters}, was expected: a cluster must be left to train on."
        )
