"""Checks of a configuration against the schema, which is completed from the registry. Loads no torch."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import yaml
from jsonschema import Draft202012Validator, validators
from jsonschema.exceptions import ValidationError

from armed import own_studies, registry
from armed.config_rules import find_inconsistencies, show
from armed.errors import did_you_mean

SCHEMA = Path(__file__).resolve().parent.parent / "workflow" / "schemas" / "config.schema.yaml"
OWN_FORMS = {registry.OWN: "own_table", registry.OWN_IMAGES: "own_images"}
"""Forms of the blocks of studies that the user declares, by what models list them as."""
_VARIANT_NAME = r"^[A-Za-z][A-Za-z0-9_]*\Z"
_DEEPEST = 50  # blocks within blocks
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
    config.update(own_studies.complete(config))
    of_names = list(own_studies.find_problems(config))
    own = own_studies.names(config)
    images = {name for name in own if own_studies.listed(config, name) == registry.OWN_IMAGES}
    rules = schema(tuple(n for n in own if n not in images), tuple(n for n in own if n in images))
    errors = sorted(_Validator(rules).iter_errors(config), key=lambda e: _dotted(e.absolute_path))
    sentences = of_names + [sentence for error in errors for sentence in _explain(error)]
    # From the end of each list, so that the positions of the entries before it stay right.
    for error in sorted(errors, key=lambda e: [str(p).zfill(9) for p in e.absolute_path], reverse=True):
        _take_out(config, error)
    wrong = tuple(f"{_dotted(error.absolute_path)} is missing" for error in errors)
    sentences += [s for s in find_inconsistencies(config, complete=not errors) if not s.startswith(wrong)]
    return list(dict.fromkeys(sentences))


def problems_of(document: object, rules: Mapping) -> list[str]:
    """One sentence for each problem of a document by a schema of the same kind as the configuration's."""
    errors = sorted(_Validator(rules).iter_errors(document), key=lambda e: _dotted(e.absolute_path))
    return [sentence for error in errors for sentence in _explain(error)]


def parse_yaml(text: str) -> object:
    """Parse YAML 1.1, as Snakemake does, into plain values; what is nested so deep that it would end the process is refused."""
    loader, depth = getattr(yaml, "CSafeLoader", yaml.SafeLoader), 0
    for event in yaml.parse(text, Loader=loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise yaml.YAMLError(f"blocks within blocks, more than {_DEEPEST} deep")
    return yaml.load(text, Loader=loader)


@functools.cache
def schema(own: tuple[str, ...] = (), images: tuple[str, ...] = ()) -> dict:
    """The JSON schema of a merged configuration, with the registry's ids filled in (do not change it).

    `own` and `images` name the studies that the configuration declares: of tables, and of images.
    """
    raw = parse_yaml(SCHEMA.read_text(encoding="utf-8"))
    of_user = dict.fromkeys(own, registry.OWN) | dict.fromkeys(images, registry.OWN_IMAGES)
    return _complete(raw, raw["x-forms"], of_user)


def _complete(node: object, forms: Mapping, own: Mapping[str, str]) -> object:
    """Replace the ``x-`` words that the head of the schema file explains, and require every listed key."""
    if isinstance(node, list):
        return [_complete(item, forms, own) for item in node]
    if not isinstance(node, dict):
        return node
    if "x-form" in node:
        listed = next(kind for kind, form in OWN_FORMS.items() if form == node["x-form"])
        return _of_study(_complete(forms[node["x-form"]], forms, own), listed)
    done = {key: _complete(value, forms, own) for key, value in node.items() if not key.startswith("x-")}
    if "x-enum" in node:
        tuned = [m.id for m in registry.MODELS.values() if m.tunable]
        studies = [*registry.BUILT_IN, *own]
        done["enum"] = list({"studies": studies, "models": registry.MODELS, "tuned": tuned}[node["x-enum"]])
    if "x-studies" in node:
        listed = {id: (id, registry.STUDIES[id].form) for id in registry.BUILT_IN}
        listed |= {name: (kind, OWN_FORMS[kind]) for name, kind in own.items()}
        # Made once for all studies of one kind: the user may declare hundreds.
        blocks = {kind: _of_study(_complete(forms[form], forms, own), kind) for kind, form in set(listed.values())}
        done["properties"] = {id: blocks[kind] for id, (kind, _) in listed.items()}
    if "x-variants" in node:
        settings, extra = (_complete(node[key], forms, own) for key in ("x-variants", "x-of-stacks"))
        done["properties"] = {
            model: _variants_of(block, extra if _has_stacks(model) else {}) for model, block in settings.items()
        }
    if "x-space" in node:
        rules = {name: _complete(rule, forms, own) for name, rule in node["x-space"].items()}
        done["properties"] = {m.id: _space_of(m, rules) for m in registry.MODELS.values() if m.tunable}
    if "type" in done and isinstance(done.get("properties"), dict):
        done.setdefault("required", list(done["properties"]))
    return done


def _of_study(block: dict, listed: str) -> dict:
    """The rules of a study (which are changed), with blocks for the models that list it alone."""
    models = [m.id for m in registry.MODELS.values() if listed in m.studies]
    rules = block["properties"]
    for rule in (rules["settings"], rules["variants"], rules["tuning"]["properties"]["space"]):
        rule["properties"] = {m: rule["properties"][m] for m in models if m in rule["properties"]}
    return block


def _has_stacks(model: str) -> bool:
    entry = registry.MODELS[model]
    return entry.engine == "stack" and entry.weights_from is None


def _variants_of(block: dict, extra: Mapping) -> dict:
    known = {**block["properties"], **extra}
    changes = {**block, "type": ["object", "null"], "required": [], "properties": known}
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
