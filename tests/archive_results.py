"""A small results folder whose tables follow from its predictions, codes and errors: what archives are tested on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from armed import config as configuration
from armed import registry, results, scoring
from armed.archive import recompute
from armed.bootstrap import draws_of_model
from armed.data.clustered import ClusteredData
from armed.data.study import StudyData
from armed.jobs.collect import summarise_all
from armed.jobs.robustness import ranks
from armed.report import write_tables
from armed.reproducibility import ROOT

MODELS = ("conventional", "armed")
SEEDS, FOLDS, KEPT, DRAWS = 3, 2, 2, 100
OWN, RESTRICTED = "wards", "mci_probes"
MARK = "Zq7"
"""In every name of a subject, cluster, label or level of a withheld study."""
WITHIN = "within_cluster_auroc"


def small_config(folder: Path, studies: Sequence[str]) -> dict:
    """Configuration of a run of some studies; the tables of withheld ones lie in the folder."""
    config = configuration.load(ROOT / "config" / "config.yaml")
    config["run"] |= {"studies": list(studies), "models": list(MODELS)}
    config["statistics"]["bootstrap"] = DRAWS
    config["predictions"]["unseen_seeds"] = KEPT
    config["recovery"] = None
    for study in set(studies) & {"spirals_radius", "mci_conversion", RESTRICTED}:
        config["studies"][study]["data"]["resampled"] = False
        config["studies"][study]["tuning"] = {**config["studies"][study]["tuning"], "models": []}
    (folder / f"{MARK}.csv").write_text(f"{MARK},1\n", encoding="utf-8")
    if RESTRICTED in studies:
        config["studies"][RESTRICTED]["data"]["path"] = str(folder / f"{MARK}.csv")
    if OWN in studies:
        data = {"path": str(folder / f"{MARK}.csv"), "label": "ill", "cluster": "ward"}
        data |= {"positive": f"{MARK}-yes", "unseen": [f"{MARK}-u{k}" for k in range(3)]}
        config["studies"][OWN] = {"data": data}
    configuration.complete(config)
    return config


def write_run(folder: Path, config: Mapping, files: bool = True) -> Path:
    """Write a results folder."""
    rng, tables = np.random.default_rng(3), {name: [] for name in ("metrics", "cluster_metrics", "thresholds")}
    tables |= {name: [] for name in ("importance", "random_effects", "auroc_intervals")}
    for study in configuration.selected_studies(config):
        (_codes if study in registry.AUTOENCODED else _predictions)(folder, config, study, rng, tables)
    for name in ("tuning", "univariate"):
        tables[name] = []
    for name, frames in tables.items():
        frame = pd.concat(frames, ignore_index=True) if frames else results.empty(name)
        results.write(name, frame, folder / f"{name}.tsv")
    summarise(folder, config)
    write_tables(folder, config)
    for study in configuration.selected_studies(config) if files else ():
        write_files(folder, study)
    return folder


def summarise(folder: Path, config: Mapping) -> None:
    """Write what follows from the tables, as the workflow does."""
    names = ("metrics", "cluster_metrics", "importance", "auroc_intervals")
    written = ("summary", "comparison", "paired_tests", "claims", "deconfounding")
    summarise_all(
        config,
        {name: folder / f"{name}.tsv" for name in names},
        ROOT / "config" / "published_results.csv",
        {name: folder / f"{name}.tsv" for name in written},
        sorted(folder.glob("parts/*/*/*draws.parquet")),
        random_effects=[folder / "random_effects.tsv"],
    )
    ranks(config, folder / "metrics.tsv", folder / "ranks.tsv")


def write_files(folder: Path, study: str) -> None:
    """What is not read by the check: records, pages, figures; those of withheld studies name subjects."""
    name = MARK if study in (OWN, RESTRICTED) else "plain"
    texts = {
        f"data_checks/{study}.html": name,
        f"figures/{study}_curves.svg": name,
        f"figures/{study}_curves.png": name,
    }
    texts |= {f"slices/{study}/index.html": name, "report.html": f"report {name}", "logs/fit.log": MARK}
    for model in MODELS:
        texts[f"runs/{study}/{model}/run.json"] = json.dumps({"settings": {"seeds": SEEDS}})
        texts[f"runs/{study}/{model}/main/weights.pt"] = MARK
        if name == MARK:
            texts |= {f"boundaries/{study}/{model}.parquet": name, f"saliency/{study}/{model}.npz": name}
    for path, text in texts.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        with (folder / path).open("a", encoding="utf-8") as file:
            file.write(text)


def _part(study: str, part: str, rng: np.random.Generator) -> ClusteredData:
    """Twelve small clusters."""
    mark = MARK if study in (OWN, RESTRICTED) else study
    clusters = np.repeat([f"{mark}-{part[0]}{k}" for k in range(12)], 8)
    names = np.array([f"{mark}-{part}-{i:03d}" for i in range(len(clusters))])
    y = (rng.random(len(clusters)) < 0.5).astype(int)
    return ClusteredData(rng.normal(size=(len(y), 2)), y, clusters, names, names, ("x1", "x2"))


def _source(study: str) -> str:
    return "restricted" if study == RESTRICTED else registry.study(study).source


def _predictions(folder: Path, config: Mapping, study: str, rng: np.random.Generator, tables: Mapping) -> None:
    entry, parts = registry.study(study), {part: _part(study, part, rng) for part in ("seen", "unseen")}
    StudyData({"main": parts}, pd.DataFrame()).save(folder / "data" / f"{study}.npz")
    for model in MODELS:
        frames = []
        for seed, fold in np.ndindex(SEEDS, FOLDS):
            for part, of in parts.items():
                rows = np.arange(fold, len(of), FOLDS) if part == "seen" else np.arange(len(of))
                mixed = (of.y[rows] - 0.5 + rng.normal(size=len(rows))).astype(np.float32)
                frame = pd.DataFrame({"sample_id": of.sample_id[rows], "subject": of.subject[rows]})
                frame = frame.assign(cluster=of.clusters[rows], y_true=of.y[rows], fixed=mixed, mixed=mixed)
                frames.append(frame.assign(partition=part, seed=seed, fold=fold, variant="main"))
        rows = pd.concat(frames, ignore_index=True)
        fits = rows[["seed", "fold", "variant"]].drop_duplicates()
        constant = entry.threshold == "constant"
        thresholds = fits.assign(threshold=0.5 if constant else 0.45, chosen_on="constant" if constant else "train")
        named = {"study": study, "source": _source(study), "model": model}
        scored = scoring.score(rows, entry.metrics, None if constant else thresholds, **named)
        of_model = {"study": study, "model": model}
        tables["thresholds"].append(thresholds.assign(**of_model))
        tables["metrics"] += [scored.metrics, _of_network(fits, named)]
        if study != OWN:  # the second of two features is a probe
            ranks = fits.assign(partition="seen", metric="probe_rank", value=2.0, n=2, note="", **named)
            tables["metrics"].append(ranks)
        tables["cluster_metrics"].append(scored.cluster_metrics)
        tables["importance"].append(_importance(fits, study).assign(**of_model))
        tables["random_effects"].append(_effects(fits, parts["seen"]).assign(**of_model))
        if study != "spirals_radius":  # whose seeds have a dataset each in truth, or many clusters
            drawn = draws_of_model(rows, entry.metrics, study=study, model=model, draws=DRAWS, thresholds=thresholds)
            results.write("draws", drawn, folder / "parts" / study / model / "draws.parquet")
        kept = rows[(rows["partition"] == "seen") | (rows["seed"] < KEPT)].drop(columns="subject")
        results.write("predictions", kept, folder / "predictions" / study / f"{model}.parquet")


def _of_network(fits: pd.DataFrame, named: Mapping) -> pd.DataFrame:
    note = "chance 0.1; constant in training, coefficient 0: sex=" + (MARK if named["study"] == OWN else "f")
    row = {"partition": "seen", "metric": "adversary_accuracy", "value": 0.2, "n": 48, "note": note}
    return fits.assign(**row, **named)


def _importance(fits: pd.DataFrame, study: str) -> pd.DataFrame:
    names = [f"sex={MARK}", "age"] if study == OWN else ["age", "probe1"]
    frames = [fits.assign(feature=name, importance=1.0 - k, rank=1 + k) for k, name in enumerate(names)]
    return pd.concat(frames)


def _effects(fits: pd.DataFrame, part: ClusteredData) -> pd.DataFrame:
    frames = [
        fits.assign(cluster=c, effect="intercept", feature="", mean=0.1, sd=0.1) for c in np.unique(part.clusters)
    ]
    return pd.concat(frames)


def _codes(folder: Path, config: Mapping, study: str, rng: np.random.Generator, tables: Mapping) -> None:
    """Codes and errors in the form that `armed.jobs.latents` keeps them in."""
    for model in MODELS:
        arrays, cell = [], np.arange(48) // 2
        for seed, part in [(seed, part) for seed in range(SEEDS) for part in ("seen", "unseen")]:
            names = {"cluster": (part, cell % 4), "subject": ("cell", cell), "group": ("g", cell % 3)}
            columns = {name: np.char.add(start, number.astype(str)) for name, (start, number) in names.items()}
            columns |= {"seed": np.full(48, seed), "fold": np.zeros(48, int), "partition": np.full(48, part)}
            columns |= {"label": (cell % 3) // 2, "phenotype": rng.normal(size=24)[cell]}
            columns |= {f"error_{kind}": rng.random(48).astype("f4") for kind in ("fixed", "mixed")}
            arrays.append(columns | {"latent": rng.normal(size=(48, 3)).astype("f4")})
        arrays = {name: np.concatenate([a[name] for a in arrays]) for name in arrays[0]}
        path = folder / "latents" / study / f"{model}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, **arrays)
        named = {"study": study, "source": _source(study), "model": model}
        errors = recompute.errors_of(arrays)
        means = [recompute.means_of(errors, [*recompute.FIT, *more]) for more in ([], ["cluster"])]
        tables["metrics"] += [means[0].assign(**named), recompute.of_codes(arrays).assign(**named)]
        tables["cluster_metrics"].append(means[1].assign(**named))
        rows = errors.assign(y_true=0.0, mixed=np.sqrt(errors["error"]))
        drawn = draws_of_model(rows, ["mse"], study=study, model=model, draws=DRAWS)
        results.write("draws", drawn, folder / "parts" / study / model / "latents_draws.parquet")
