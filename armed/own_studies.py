"""Studies that the user's configuration declares: a table or images of their own.

A study whose `data` says how large its images are (`image_size`) is one of images, listed in a table, with the defaults of the
block `own_images`; all others are tables, with those of `own_study`.

Loads no torch: the workflow is parsed with it.
"""

from __future__ import annotations

from collections.abc import Mapping

from armed import registry

DEFAULTS = {registry.OWN: "own_study", registry.OWN_IMAGES: "own_images"}
"""Blocks of defaults, by what stands for such studies in the registry."""


def names(config: Mapping) -> list[str]:
    """Studies of a configuration that are no studies of the benchmark and say where their table is (`data.path`)."""
    studies = config.get("studies")
    if not isinstance(studies, Mapping):
        return []
    return [name for name, block in studies.items() if name not in registry.BUILT_IN and _has_path(block)]


def listed(config: Mapping, name: str) -> str:
    """What models list an own study as (`registry.listed`)."""
    return registry.OWN_IMAGES if "image_size" in config["studies"][name]["data"] else registry.OWN


def complete(config: Mapping) -> dict:
    """Return the configuration with the blocks of own studies laid over the defaults; done twice it changes nothing."""
    studies = dict(config.get("studies") or {}) if isinstance(config.get("studies"), Mapping) else {}
    for name in names(config):
        defaults = config.get(DEFAULTS[listed(config, name)])
        studies[name] = overlay(defaults if isinstance(defaults, Mapping) else {}, studies[name])
    return {**config, "studies": studies} if studies else dict(config)


def declare(config: Mapping) -> None:
    """Make the registry know the own studies of a checked configuration."""
    for name in names(config):
        data, form = config["studies"][name]["data"], listed(config, name)
        kind, images = data["kind"], form == registry.OWN_IMAGES
        seen_only = data["unseen"] in (0, [], None)
        of_features = () if images else ("standardise",)
        registry.declare(
            registry.Study(
                id=name,
                label=data["title"] or name.replace("_", " ").capitalize(),
                source="own",
                data="armed.data.own_images:make" if images else "armed.data.own_table:make",
                partitions=("seen",) if seen_only else ("seen", "unseen", "unseen_population"),
                metrics=registry.METRICS_OF_KIND[kind],
                kind=kind,
                preparation=(*of_features, "standardise_label") if kind == "continuous" else of_features,
                threshold=("validation" if images else "train") if kind == "binary" else "constant",
                raw=form,
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
