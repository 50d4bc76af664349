"""The job that asks where the networks of a model look: saliency of an image study's samples, held against the true region.

Both outputs are looked at for class 1, whatever a sample's label. Decided before any map of a study was looked at:

- *Localisation* is over samples of label 1, in whose images there is something to be found, and of the mixed output: with their
  known cluster on seen ones (test rows), with the method's own membership on unseen ones (Z inferred where it infers, else the
  population), and for methods that infer with Z = 0 too. A sample whose map is all zero, or without a region, has none; the
  note counts such samples.
- *Which maps*: Grad-CAM tells little of places in a network whose dense layer reads the map position by position, as the
  paper's does. Such a network, trained on made-up images with a change at one place and nothing else to go by, and always
  right, scored 1.1 to 1.4 times chance with Grad-CAM (blocks 1 to 3 before pooling), 2.5 to 5.6
  times with HiResCAM.
- *Maps that are kept* are Grad-CAM's, as in the paper, of the first seed and fold: in order of `sample_id` the first samples of
  the first so many test subjects of each label.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from tqdm import tqdm

from armed import registry, results
from armed.data.clustered import ClusteredData
from armed.data.splits import Splits
from armed.data.study import StudyData
from armed.errors import ConfigError, did_you_mean
from armed.files import atomic
from armed.jobs.fit import set_torch_threads
from armed.jobs.fitted import fitted
from armed.method import Method
from armed.saliency import chance, grad_cam, localisation

log = logging.getLogger(__name__)

METRIC = "localisation"
MAPS = {"grad_cam": "Grad-CAM", "hires_cam": "HiResCAM"}
"""Kinds of maps, with their names in notes."""
_LABEL = 1  # of the samples that are scored
_FIT = ["seed", "fold", "partition"]


def saliency(
    settings: Mapping,
    source: str,
    data: Path,
    splits: Path,
    run: Path,
    inference: Path | None,
    out: Mapping[str, Path],
    *,
    maps: str,
    layer: str,
    subjects: int,
) -> None:
    """Score where a model's networks look, and keep maps of a few subjects.

    Parameters
    ----------
    settings : mapping
        `armed.config.settings` of a model with weights of its own, in a study on images.
    source : str
        What data it is (`armed.config.source`).
    data, splits : Path
        What `armed.jobs.data` wrote. Scores need the data's `regions`; without any, the tables have no rows.
    run : Path
        Folder of the fits.
    inference : Path or None
        Folder of the study's Z-predictor, for models that infer clusters.
    out : mapping
        Files to write: tables ``metrics`` and ``cluster_metrics``, and ``maps`` (npz; see `kept_maps`).
    maps : {"grad_cam", "hires_cam"}
        Which maps are kept and scored.
    layer : str
        Layer of the network whose maps these are; see `armed.saliency.grad_cam`. Not stated in the paper; the deeper, the more
        it knows of the class and the less of the place.
    subjects : int
        Of each label, whose maps are kept.

    Raises
    ------
    ConfigError
        There are no such maps.
    """
    if maps not in MAPS:
        raise ConfigError(f"saliency.maps is '{maps}'; expected {' or '.join(MAPS)}.{did_you_mean(maps, MAPS)}")
    pooled = maps == "grad_cam"
    set_torch_threads(settings.get("torch_threads"))
    study, entry = registry.study(settings["study"]), registry.model(settings["model"])
    loaded = StudyData.load(data)
    tables: dict[str, list[pd.DataFrame]] = {"metrics": [], "cluster_metrics": []}
    for fits, name, data_variant in _fits(settings, loaded, splits, run, inference):
        if name == data_variant == "main":
            kept = kept_maps(fits, loaded.truth, layer, subjects, pooled=pooled)
            _write(out["maps"], kept | {"kind": np.array(MAPS[maps])})
        if fits.regions:
            log.info("Looking where %s looks, variant %s.", entry.id, name)
            samples = _of_samples(fits, layer, pooled=pooled).assign(variant=name)
            tables["metrics"].append(averaged(samples, [*_FIT, "variant"], MAPS[maps]))
            tables["cluster_metrics"].append(averaged(samples, [*_FIT, "variant", "cluster"], MAPS[maps]))
    for name, found in tables.items():
        table = pd.concat(found, ignore_index=True) if found else results.empty(name)
        results.write(name, table.assign(study=study.id, source=source, model=entry.id), out[name])


class Fits(NamedTuple):
    """One training of a model on all folds of its seeds, and the images it is looked at on.

    Attributes
    ----------
    method : StackMethod
    parts : mapping of str to ClusteredData
        X (n, C, H, W).
    folds : Splits
        As results are reported by them.
    predictor : ClusterInference or None
        The study's Z-predictor, for methods that infer clusters.
    regions : mapping of str to array
        By part, (n, H, W) booleans: where class 1 changes the image. Empty where that is not known.
    first_fold : int
        Added to fold numbers in the results.
    """

    method: Method
    parts: Mapping[str, ClusteredData]
    folds: Splits
    predictor: object | None
    regions: Mapping[str, np.ndarray]
    first_fold: int = 0


def kept_maps(
    fits: Fits, truth: pd.DataFrame, layer: str, subjects: int, *, pooled: bool = True
) -> dict[str, np.ndarray]:
    """Maps of a few test subjects of the first seed and fold, under the effects of every seen cluster.

    Parameters
    ----------
    fits : Fits
    truth : DataFrame
        `StudyData.truth`; where it has a column `scanner`, that of each cluster is kept.
    layer, subjects, pooled
        As for `saliency`.

    Returns
    -------
    dict of str to array
        ``image`` (n, H, W) as in the data; ``fixed`` (n, H, W) and ``mixed`` (n, q, H, W) float32, as `grad_cam` returns them;
        ``sites`` and ``scanner`` (q,) text; ``sample_id``, ``subject``, ``site`` (its own) and ``label`` (n,); ``region``
        (n, H, W) where it is known.
    """
    fold = min(fits.folds, key=lambda f: (f.seed, f.fold))
    part, levels = fits.parts["seen"], fits.method.levels_
    rows = first_of_each_label(part, fold.test, subjects)
    module = _module(fits.method, (fold.seed, fold.fold))
    X = _input(part, rows)
    by_site = [grad_cam(module, X, np.full(len(rows), c), layer, pooled=pooled) for c in range(len(levels))]
    kept = {
        "image": part.X[rows][:, 0],
        "fixed": grad_cam(module, X, None, layer, "fixed", pooled=pooled),
        "mixed": np.stack(by_site, 1),
        "sites": np.asarray(levels, dtype=np.str_),
        "scanner": _scanners(truth, levels),
        "sample_id": part.sample_id[rows].astype(np.str_),
        "subject": part.subject[rows].astype(np.str_),
        "site": part.clusters[rows].astype(np.str_),
        "label": part.y[rows],
    }
    return kept | ({"region": fits.regions["seen"][rows]} if "seen" in fits.regions else {})


def first_of_each_label(part: ClusteredData, rows: np.ndarray, subjects: int) -> np.ndarray:
    """Of some rows the first of each of the first subjects of each label, in order of `sample_id`; label 1 comes first."""
    ordered = np.asarray(rows)[np.argsort(part.sample_id[rows], kind="stable")]
    _, first = np.unique(part.subject[ordered], return_index=True)
    ordered = ordered[np.sort(first)]
    labels = np.unique(part.y[ordered])[::-1]
    return np.concatenate([ordered[part.y[ordered] == label][:subjects] for label in labels])


def averaged(samples: pd.DataFrame, by: list[str], name: str) -> pd.DataFrame:
    """Mean localisation of samples in rows of a table of metrics.

    Parameters
    ----------
    samples : DataFrame
        value and chance of each sample (`armed.saliency`), NaN where it has none, and the columns `by`.
    by : list of str
    name : str
        Of the maps.

    Returns
    -------
    DataFrame
        Columns `by`, metric, value, n (samples with a value) and note, which tells the chance level of these, and the maps.
    """
    rows = []
    for key, own in samples.groupby(by, sort=True, observed=True):
        there = own[own["value"].notna()]
        lacking = len(own) - len(there)
        note = f"chance {there['chance'].mean():.3g}; {name}" if len(there) else "no sample has both a map and a region"
        note += f"; {lacking} of {len(own)} samples have no map or no region" if lacking and len(there) else ""
        rows.append((*key, METRIC, there["value"].mean(), len(there), note))
    return pd.DataFrame(rows, columns=[*by, "metric", "value", "n", "note"])


def _fits(
    settings: Mapping, data: StudyData, splits: Path, run: Path, inference: Path | None
) -> Iterator[tuple[Fits, str, str]]:
    """Each training with its variant in the results and that of its data."""
    for variant, method, folds, predictor, first in fitted(settings, data, splits, run, inference):
        known = data.regions.get(variant.data, {})
        yield Fits(method, data.parts[variant.data], folds, predictor, known, first), variant.name, variant.data


def _of_samples(fits: Fits, layer: str, *, pooled: bool) -> pd.DataFrame:
    """Localisation and chance of every sample of label 1, by seed, fold, partition and cluster."""
    frames = []
    for fold in tqdm(list(fits.folds), desc="Saliency", unit="network", disable=None):
        module = _module(fits.method, (fold.seed, fold.fold))
        for partition, name, rows, membership in _partitions(fits, (fold.seed, fold.fold), fold.test):
            part, regions = fits.parts[name], fits.regions[name][rows]
            maps = grad_cam(module, _input(part, rows), membership, layer, pooled=pooled)
            found = {
                "partition": partition,
                "cluster": part.clusters[rows],
                "value": localisation(maps, regions),
                "chance": chance(part.X[rows][:, 0], regions),
            }
            frames.append(pd.DataFrame(found).assign(seed=fold.seed, fold=fold.fold + fits.first_fold))
    return pd.concat(frames, ignore_index=True)


def _partitions(
    fits: Fits, key: tuple[int, int], test: np.ndarray
) -> Iterator[tuple[str, str, np.ndarray, np.ndarray]]:
    """Partition, part, rows of label 1 and their membership, as `Method.predict` has it."""
    seen, unseen = fits.parts["seen"], fits.parts.get("unseen")
    rows = test[seen.y[test] == _LABEL]
    yield "seen", "seen", rows, seen.codes(fits.method.levels_)[rows]
    if unseen is None or "unseen" not in fits.regions:
        return
    rows = unseen.rows_of(key[0])
    rows = rows[unseen.y[rows] == _LABEL]
    population = np.full(len(rows), -1)
    if fits.predictor is None:
        yield "unseen", "unseen", rows, population
        return
    yield "unseen", "unseen", rows, fits.predictor.infer(unseen, {key: rows}, fits.method.levels_)[key]
    yield "unseen_population", "unseen", rows, population


def _module(method: Method, key: tuple[int, int]) -> object:
    return method.stack_.replica(method.replicas_.index(key))


def _input(part: ClusteredData, rows: np.ndarray) -> np.ndarray:
    """Images as networks are trained on them: bytes become 0..1."""
    X = np.asarray(part.X[rows])
    return X.astype(np.float32) / (255 if X.dtype == np.uint8 else 1)


def _scanners(truth: pd.DataFrame, levels: np.ndarray) -> np.ndarray:
    """Scanner of each cluster, empty where it is not known."""
    if "scanner" not in truth or not len(truth):
        return np.full(len(levels), "", dtype=np.str_)
    known = truth[(truth["variant"] == "main") & (truth["part"] == "seen")].drop_duplicates("cluster")
    of_cluster = known.set_index("cluster")["scanner"].to_dict()
    return np.array([str(of_cluster.get(str(level), "")) for level in levels], dtype=np.str_)


def _write(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    with atomic(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)
