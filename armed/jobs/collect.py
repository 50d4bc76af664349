"""Jobs that assemble the tables of all studies and what follows from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from armed import claims, registry, results
from armed import config as configuration
from armed.associations import probe_shares
from armed.auroc_intervals import with_delong
from armed.claim_evidence import BALANCE, Evidence
from armed.claim_rules import judge
from armed.comparison import compare, paired_tests, read_published
from armed.data.spirals import AUTHORS_DATASET
from armed.data.study import is_probe, read_truth
from armed.statistics import Settings, summarise


def collect(parts: Mapping[str, Sequence[Path]], out: Mapping[str, Path]) -> None:
    """Put each table's parts together.

    Parameters
    ----------
    parts : mapping
        Table to the files of single models, in the order wanted.
    out : mapping
        Table to the file to write.
    """
    for table, path in out.items():
        results.concatenate(table, parts[table], path)


def summarise_all(
    config: Mapping,
    tables: Mapping[str, Path],
    published: Path,
    out: Mapping[str, Path],
    draws: Sequence[Path] = (),
    balanced: Sequence[Path] = (),
    random_effects: Sequence[Path] = (),
    claimed: Path = claims.CLAIMS,
) -> None:
    """Write summary, comparison, paired tests, verdicts on claims, and deconfounding shares.

    Parameters
    ----------
    config : mapping
        The whole configuration.
    tables : mapping
        metrics, cluster_metrics, importance: files to read; where they are there auroc_intervals (where the paper used DeLong's
        interval) and univariate, which only claims need.
    published : Path
        `config/published_results.csv`.
    out : mapping
        summary, comparison, paired_tests, claims, deconfounding: files to write.
    draws : sequence of Path
        Tables `draws` of single models, where there are any.
    balanced : sequence of Path
        `StudyData` files, ``{study}.npz``, of studies with claims about their class balance.
    random_effects : sequence of Path
        Tables `random_effects` of the models that claims are about.
    claimed : Path
        `config/claims.yaml`.
    """
    settings = Settings.from_config(config)
    metrics = results.read("metrics", tables["metrics"])
    cluster_metrics = results.read("cluster_metrics", tables["cluster_metrics"])
    drawn = read_parts("draws", draws)
    summary = summarise(metrics, cluster_metrics, settings, drawn)
    if "auroc_intervals" in tables:
        summary = with_delong(summary, results.read("auroc_intervals", tables["auroc_intervals"]))
    results.write("summary", summary, out["summary"])
    comparison = compare(summary, read_published(published), settings, other_data=other_data(config))
    results.write("comparison", comparison, out["comparison"])
    tests = paired_tests(metrics, cluster_metrics, settings, references=references(config), draws=drawn)
    results.write("paired_tests", tests, out["paired_tests"])
    importance = results.read("importance", tables["importance"])
    more = {"balance": read_balance(balanced), "random_effects": read_parts("random_effects", random_effects)}
    if "univariate" in tables:
        more["univariate"] = results.read("univariate", tables["univariate"])
    evidence = Evidence(metrics, cluster_metrics, settings, drawn, importance=importance, **more)
    results.write("claims", judge(evidence, claims.load(claimed)), out["claims"])
    probes = importance.loc[importance["feature"].map(is_probe).astype(bool), ["study", "feature"]]
    probed = importance[importance["study"].isin(probes["study"])]
    shares = results.empty("deconfounding")
    if len(probed):
        shares = probe_shares(probed, probes["feature"].unique(), settings)
    results.write("deconfounding", shares, out["deconfounding"])


def read_parts(name: str, paths: Sequence[Path]) -> pd.DataFrame:
    """Put a table's parts of single models together; of draws most have no rows."""
    frames = [frame for path in paths if len(frame := results.read(name, path))]
    return pd.concat(frames, ignore_index=True) if frames else results.empty(name)


def read_balance(paths: Sequence[Path]) -> pd.DataFrame:
    """Read the class balance of the seen clusters of studies, columns `BALANCE`, from their `StudyData` files."""
    found = [pd.DataFrame(columns=list(BALANCE))]
    for path in paths:
        truth = read_truth(path)
        if {"part", *BALANCE[1:]} <= set(truth):
            found.append(truth[truth["part"] == "seen"].assign(study=Path(path).stem)[list(BALANCE)])
    return pd.concat(found[1:] or found, ignore_index=True)


def references(config: Mapping) -> dict[str, str]:
    """Studies whose models are compared with another one than ``conventional``: with `mixedlm` where labels are continuous."""
    return {
        study: "mixedlm"
        for study in configuration.selected_studies(config)
        if registry.study(study).kind == "continuous" and "mixedlm" in config["run"]["models"]
    }


def other_data(config: Mapping) -> set[str]:
    """Simulated studies whose data are not the dataset behind the published numbers: drawn anew, or by other settings."""
    blocks = {study: config["studies"][study]["data"] for study in registry.SPIRALS if study in config["studies"]}
    return {
        study for study, data in blocks.items() if any(data[key] != value for key, value in AUTHORS_DATASET.items())
    }
