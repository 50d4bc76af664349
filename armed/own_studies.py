"""Studies that the user's configuration declares: a table or images of their own.

A study whose `data` says how large its images are (`image_size`) is one of images, listed in a table, with the defaults of the
block `own_images`; all others are tables, with those of `own_study`.

Loads no torch: the workflow is parsed with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from armed import registry
from armed.names import fault

DEFAULTS = {registry.OWN: "own_study", registry.OWN_IMAGES: "own_images"}
"""Blocks of defaults, by what stands for such studies in the registry."""
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")  # names of files and folders, and a wildcard of the workflow
_TAKEN = re.compile(r"claims|robustness|author|con|prn|aux|nul|com\d|lpt\d")
"""Begin names of other files of results, or are no names of files on Windows."""


def names(config: Mapping) -> list[str]:
    """Studies of a configuration that are no studies of the benchmark and say where their table is (`data.path`)."""
    studies = config.get("studies")
    if not isinstance(studies, Mapping):
        return []
    return [name for name, block in studies.items() if name not in registry.BUILT_IN and _has_path(block)]


def find_problems(config: Mapping) -> Iterator[str]:
    """Sentences on names and titles of own studies that cannot be: the names become those of files."""
    others = {name.lower(): name for name in registry.BUILT_IN}
    for name in names(config):
        if not _NAME.fullmatch(name):
            yield (
                f"studies has {name[:80]!a}, which cannot name a study: files are named after it. Expected at most 64"
                " letters, digits, '_' and '-', a letter first; its title (data.title) may be any text."
            )
        elif _TAKEN.fullmatch(name.lower()):
            yield f"studies.{name} has a name that files of results have already, or cannot have; give it another."
        elif (other := others.setdefault(name.lower(), name)) != name:
            yield f"studies.{name} and studies.{other} would share files where the case of letters does not count; rename one."
        title = config["studies"][name]["data"].get("title")
        if isinstance(title, str) and (told := fault(title)):
            yield f"studies.{name[:80]}.data.title: {told}, but a title of one short line was expected."


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
