"""Studies that the user's configuration declares: a table of their own, with the defaults of the block `own_study`.

Loads no torch: the workflow is parsed with it.
"""

from __future__ import annotations

from collections.abc import Mapping

from armed import registry

DEFAULTS = "own_study"


def names(config: Mapping) -> list[str]:
    """Studies of a configuration that are no studies of the benchmark and say where their table is (`data.path`)."""
    studies = config.get("studies")
    if not isinstance(studies, Mapping):
        return []
    return [name for name, block in studies.items() if name not in registry.BUILT_IN and _has_path(block)]


def complete(config: Mapping) -> dict:
    """Return the configuration with the blocks of own studies laid over the defaults; done twice it changes nothing."""
    defaults = config.get(DEFAULTS)
    if not isinstance(defaults, Mapping):
        return dict(config)
    studies = dict(config.get("studies") or {}) if isinstance(config.get("studies"), Mapping) else {}
    for name in names(config):
        studies[name] = overlay(defaults, studies[name])
    return {**config, "studies": studies} if studies else dict(config)


def declare(config: Mapping) -> None:
    """Make the registry know the own studies of a checked configuration."""
    for name in names(config):
        data = config["studies"][name]["data"]
        kind = data["kind"]
        seen_only = data["unseen"] in (0, [], None)
        registry.declare(
            registry.Study(
                id=name,
                label=data["title"] or name.replace("_", " ").capitalize(),
                source="own",
                data="armed.data.own_table:make",
                partitions=("seen",) if seen_only else ("seen", "unseen", "unseen_population"),
                metrics=registry.METRICS_OF_KIND[kind],
                kind=kind,
                preparation=("standardise", "standardise_label") if kind == "continuous" else ("standardise",),
                threshold="train" if kind == "binary" else "constant",
                raw="own",
            )
        )


def overlay(base: object, change: Mapping) -> dict:
    """Lay one block over another: blocks merge key by key, lists and values replace."""
    merged = dict(base) if isinstance(base, Mapping) else {}
    for key, value in change.items():
        merged[key] = overlay(merged.get(key), value) if isinstance(value, Mapping) else value
    return merged


def _has_path(block: object) -> bool:
    data = block.get("data") if isinstance(block, Mapping) else None
    return isinstance(data, Mapping) and "path" in data
