"""The record of a results folder (`environment.json`): versions, commit, configuration, seeds, digests of data and tables."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

from armed import config as configuration
from armed import schemas
from armed.files import atomic
from armed.reproducibility import environment
from armed.retrieval import Receipt
from armed.same import digest


def write_environment(results_dir: Path, config: Mapping, raw: Mapping[str, Sequence[str]], out: Path) -> None:
    """Tell what a results folder was made with.

    Parameters
    ----------
    results_dir : Path
    config : mapping
        The whole configuration of the run.
    raw : mapping of str to sequence of str
        By study its raw files or folders, or the receipt of files that were retrieved.
    out : Path
        JSON: ``environment`` (`armed.reproducibility.environment`, with all packages that are installed), ``configuration``,
        ``configuration_sha256``, ``studies`` (of each ``source``, ``seeds``, and sha256 of ``raw`` files, ``data`` and
        ``splits``; None where one is absent) and ``tables`` (sha256 of each).
    """
    results_dir = Path(results_dir)
    found = environment()
    found["packages"] = dict(sorted((d.metadata["Name"], d.version) for d in metadata.distributions()))
    text = json.dumps(config, sort_keys=True)
    told = {
        "environment": found,
        "configuration_sha256": hashlib.sha256(text.encode()).hexdigest(),
        "studies": {study: _study(results_dir, config, study, raw[study]) for study in raw},
        "tables": {
            path.name: digest(path) for path in sorted(results_dir.glob("*.tsv")) if path.stem in schemas.TABLES
        },
        "configuration": config,
    }
    with atomic(out) as temporary:
        temporary.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def _study(results_dir: Path, config: Mapping, study: str, raw: Sequence[str]) -> dict:
    paths = [Path(path) for path in raw]
    if [path.suffix for path in paths] == [".json"] and paths[0].is_file():
        paths = [Path(path) for path in Receipt.read(paths[0]).files]
    made = {"data": results_dir / "data" / f"{study}.npz", "splits": results_dir / "splits" / f"{study}.parquet"}
    return {
        "source": configuration.source(config, study),
        "seeds": {
            model: configuration.seeds(config, study, model) for model in configuration.selected_models(config, study)
        },
        "raw": {str(path): _digest(path) for path in paths},
        **{name: _digest(path) for name, path in made.items()},
    }


def _digest(path: Path) -> str | None:
    return digest(path) if path.exists() else None
