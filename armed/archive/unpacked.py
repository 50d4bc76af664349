"""An unpacked archive: its configuration, tables, and what it holds of each study and model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pandas as pd

from armed import config as configuration
from armed import own_studies, registry, results, schemas
from armed.archive.files import MANIFEST
from armed.archive.privacy import LEFT_OUT
from armed.errors import ArchiveError, ConfigError


@dataclass(frozen=True)
class Unpacked:
    """Folder of an archive that `armed.archive.files.unpack` has checked, and its manifest."""

    folder: Path
    manifest: Mapping
    _read: dict[str, pd.DataFrame] = field(default_factory=dict)

    @property
    def results(self) -> Path:
        return self.folder / "results"

    @cached_property
    def config(self) -> dict:
        """The configuration of the run, checked; its own studies are made known to the registry."""
        path = self.folder / "config" / "config.yaml"
        try:
            config = configuration.load(path)
            self._stand_in_for_tables(config)
            configuration.complete(config)
        except ConfigError as error:
            commit = self.manifest.get("commit")
            raise ArchiveError(
                f"{error}\nThe archive was made with commit {commit}; check it with that version."
            ) from error
        return config

    def _stand_in_for_tables(self, config: Mapping) -> None:
        """The configuration's check wants the tables of own studies to be there: a file of the archive stands for them."""
        for study in own_studies.names(config):
            if config["studies"][study]["data"]["path"] == LEFT_OUT:
                config["studies"][study]["data"]["path"] = str(self.folder / MANIFEST)

    @cached_property
    def withheld(self) -> dict[str, str]:
        """Studies of which there are aggregates alone, with their sources."""
        told = self.manifest.get("studies") or {}
        return {study: of["source"] for study, of in told.items() if of["kept"] == "aggregates"}

    def whole(self) -> list[str]:
        """Studies that are there with their samples."""
        return [study for study in configuration.selected_studies(self.config) if study not in self.withheld]

    def tables(self) -> dict[str, Path]:
        """All tables of the archive."""
        return {path.stem: path for path in sorted(self.results.glob("*.tsv")) if path.stem in schemas.TABLES}

    def table(self, name: str) -> pd.DataFrame:
        """A table of the archive, read once; without rows where it has none."""
        path = self.results / f"{name}.tsv"
        if name not in self._read:
            self._read[name] = results.read(name, path) if path.is_file() else results.empty(name)
        return self._read[name]

    def of_model(self, name: str, study: str, model: str) -> pd.DataFrame:
        """Rows of a table of one model in a study."""
        frame = self.table(name)
        return frame[(frame["study"] == study) & (frame["model"] == model)]

    def models(self, kind: str) -> Iterator[tuple[str, str, Path]]:
        """Study, model and file of each that has one: ``predictions/*.parquet`` or ``latents/*.npz``."""
        folder, _, suffix = kind.partition("/*")
        for study in self.whole():
            for path in sorted((self.results / folder / study).glob(f"*{suffix}")):
                if path.stem in registry.MODELS:
                    yield study, path.stem, path

    def draws(self) -> list[tuple[str, str, Path]]:
        """Study, model and file of each table of draws."""
        found = sorted(self.results.glob("parts/*/*/*draws.parquet"))
        return [(path.parent.parent.name, path.parent.name, path) for path in found]
