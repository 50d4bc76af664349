"""The job that looks into the autoencoders of one model: reconstruction errors, what their latents hold, and images to show.

Decided before any result was looked at:

- *Errors* are the mean squared pixel error of each image, in brightness 0..1, of the mixed reconstruction: with their known
  cluster on seen clusters (test rows), with the method's own membership on unseen ones. Of methods with random effects those of
  Z = 0, the fixed reconstruction, make the partitions `seen_population` and `unseen_population`.
- *Latents* are read (`armed.latents`) on the test rows of seen clusters and, as `latents_unseen`, on the unseen ones, of each
  fit on its own. The paper does not state on which samples it reads them. The linear probe of seen clusters is fitted to the
  latents of the rows that the fit had for training and validation.
- *Images to show* are of the first seed and fold: of each group in turn the first test sample in order of `sample_id` whose
  subject is not there yet, and whose cluster is not there yet, as long as the group has such a one.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from tqdm import tqdm

from armed import registry, results
from armed.bootstrap import draws_of_model
from armed.data.clustered import ClusteredData
from armed.data.image_statistics import NAMES, statistics
from armed.data.splits import Splits
from armed.data.study import StudyData
from armed.files import atomic
from armed.jobs.fit import set_torch_threads
from armed.jobs.fitted import fitted
from armed.latents import Labelled, Reading, cluster_probe, separation, variance_partition
from armed.method import Method

log = logging.getLogger(__name__)

ROWS_AT_ONCE = 256  # reconstructed together; bounds memory
TABLES = ("metrics", "cluster_metrics", "draws")
_FIT = ["seed", "fold", "partition"]
_OF_PART = {"seen": "latents", "unseen": "latents_unseen"}


def latents(
    settings: Mapping,
    source: str,
    data: Path,
    splits: Path,
    run: Path,
    inference: Path | None,
    out: Mapping[str, Path],
    *,
    shown: int,
    draws: int = 2000,
) -> None:
    """Score reconstructions and latents of a model's autoencoders, and keep what figures are drawn from.

    Parameters
    ----------
    settings : mapping
        `armed.config.settings` of the model, in a study whose networks are autoencoders.
    source : str
        What data it is (`armed.config.source`).
    data, splits : Path
        What `armed.jobs.data` wrote. The data's `samples` have a column `group`, and a stand-in's `phenotype`.
    run : Path
        Folder of the fits (those of another model where this one has none of its own).
    inference : Path or None
        Folder of the study's Z-predictor, for models that infer clusters.
    out : mapping
        Files to write: tables ``metrics`` and ``cluster_metrics``, ``latents`` (npz, of variant ``main``; see `kept`), and,
        where it is asked for, table ``draws``: errors on draws of subjects or clusters, as for the metrics of predictions.
    shown : int
        Images of seen clusters that are kept.
    draws : int
        Bootstrap draws where unseen clusters are few or small (`armed.bootstrap`).
    """
    set_torch_threads(settings.get("torch_threads"))
    study, entry = registry.study(settings["study"]), registry.model(settings["model"])
    loaded = StudyData.load(data)
    tables: dict[str, list[pd.DataFrame]] = {name: [] for name in TABLES}
    for fits, name, data_variant in _fits(settings, loaded, splits, run, inference):
        log.info("Looking into the autoencoders of %s, variant %s.", entry.id, name)
        looked = list(_looked(fits))
        if name == data_variant == "main":
            _write(out["latents"], kept(fits, looked) | shown_images(fits, shown))
        errors = pd.concat([frame for look in looked for frame in _errors(fits, look)], ignore_index=True)
        errors = errors.assign(variant=name)
        read = [_readings(fits, look) for look in looked]
        tables["metrics"] += [_mean_errors(errors, [*_FIT, "variant"]), *(frame.assign(variant=name) for frame in read)]
        tables["cluster_metrics"].append(_mean_errors(errors, [*_FIT, "variant", "cluster"]))
        if "draws" in out:
            tables["draws"].append(_draws(errors, study.id, entry.id, draws))
    for name in (name for name in TABLES if name in out):
        table = pd.concat(tables[name], ignore_index=True)
        named = {} if name == "draws" else {"source": source}
        results.write(name, table.assign(study=study.id, model=entry.id, **named), out[name])


class Fits(NamedTuple):
    """One training of a model on all folds of its seeds, and the images it is looked at on.

    Attributes
    ----------
    method : StackMethod
    parts : mapping of str to ClusteredData
        X (n, C, H, W) bytes.
    samples : mapping of str to DataFrame
        By part: columns `group` and, where it is known, `phenotype`.
    folds : Splits
        As results are reported by them.
    predictor : ClusterInference or None
        The study's Z-predictor, for methods that infer clusters.
    has_effects : bool
        Whether the mixed reconstruction has random effects of its own, and not another model's under other memberships.
    first_fold : int
        Added to fold numbers in the results.
    """

    method: Method
    parts: Mapping[str, ClusteredData]
    samples: Mapping[str, pd.DataFrame]
    folds: Splits
    predictor: object | None
    has_effects: bool
    first_fold: int = 0

    def column(self, part: str, name: str, rows: np.ndarray) -> np.ndarray | None:
        """A column of the samples in some rows; None where it is not there."""
        table = self.samples.get(part)
        return None if table is None or name not in table else table[name].to_numpy()[rows]

    def groups(self, part: str, rows: np.ndarray) -> np.ndarray:
        """Group of each row, as text; empty where none is known."""
        found = self.column(part, "group", rows)
        return np.full(len(rows), "") if found is None else found.astype(np.str_)


class Look(NamedTuple):
    """What one autoencoder makes of some rows of a part: errors (n,) and statistics (n, 4) beside the latents (n, L)."""

    seed: int
    fold: int
    part: str
    rows: np.ndarray
    latent: np.ndarray
    error_fixed: np.ndarray
    error_mixed: np.ndarray
    statistics_original: np.ndarray
    statistics_fixed: np.ndarray
    statistics_mixed: np.ndarray


def kept(fits: Fits, looked: list[Look]) -> dict[str, np.ndarray]:
    """Arrays of all fits, one entry for each fit and sample.

    Parameters
    ----------
    fits : Fits
    looked : list of Look

    Returns
    -------
    dict of str to array
        ``latent`` (N, L) float32; ``seed``, ``fold``, ``partition`` (``seen`` or ``unseen``), ``sample_id``, ``subject``,
        ``cluster``, ``group``, ``label`` and, where it is known, ``phenotype`` (N,); ``error_fixed``, ``error_mixed`` (N,)
        float32; ``statistics_original``, ``statistics_fixed``, ``statistics_mixed`` (N, 4) float32, named by
        ``statistic_names`` (4,).
    """
    rows = []
    for look in looked:
        part, n = fits.parts[look.part], len(look.rows)
        row = {
            "seed": np.full(n, look.seed),
            "fold": np.full(n, look.fold + fits.first_fold),
            "partition": np.full(n, look.part),
            "sample_id": part.sample_id[look.rows].astype(np.str_),
            "subject": part.subject[look.rows].astype(np.str_),
            "cluster": part.clusters[look.rows].astype(np.str_),
            "group": fits.groups(look.part, look.rows),
            "label": part.y[look.rows],
            "phenotype": fits.column(look.part, "phenotype", look.rows),
        }
        rows.append(row | {name: getattr(look, name) for name in Look._fields[4:]})
    names = [name for name in rows[0] if all(row[name] is not None for row in rows)]
    return {name: np.concatenate([row[name] for row in rows]) for name in names} | {"statistic_names": np.array(NAMES)}


def shown_images(fits: Fits, count: int) -> dict[str, np.ndarray]:
    """Some test images of the first seed and fold, what is made of them, and under the effects of every seen cluster.

    Parameters
    ----------
    fits : Fits
    count : int
        How many, at most.

    Returns
    -------
    dict of str to array
        ``shown_image``, ``shown_fixed``, ``shown_mixed`` (m, H, W) bytes; ``shown_id``, ``shown_cluster``, ``shown_group``,
        ``shown_label`` (m,); ``levels`` (q,), the seen clusters; ``shown_under`` (m, q, H, W) bytes, only of methods with
        random effects of their own.
    """
    fold, part = min(fits.folds, key=lambda f: (f.seed, f.fold)), fits.parts["seen"]
    key, levels = (fold.seed, fold.fold), fits.method.levels_
    rows = choose(part, fits.groups("seen", np.arange(len(part))), fold.test, count)
    some, own = part.take(rows), np.arange(len(rows))
    made = fits.method.reconstruct(some, {key: own})[key]
    found = {
        "shown_image": some.X[:, 0],
        "shown_fixed": _bytes(made.fixed),
        "shown_mixed": _bytes(made.mixed),
        "shown_id": some.sample_id.astype(np.str_),
        "shown_cluster": some.clusters.astype(np.str_),
        "shown_group": fits.groups("seen", rows),
        "shown_label": some.y,
        "levels": np.asarray(levels, dtype=np.str_),
    }
    if fits.has_effects:
        codes = [np.full(len(rows), code) for code in range(len(levels))]
        under = [_bytes(fits.method.reconstruct_as(some, key, own, code).mixed) for code in codes]
        found["shown_under"] = np.stack(under, axis=1)
    return found


def choose(part: ClusteredData, groups: np.ndarray, rows: np.ndarray, count: int) -> np.ndarray:
    """Rows of samples to show, by the rules above: at most `count`, in order of group."""
    ordered = np.asarray(rows)[np.argsort(part.sample_id[rows], kind="stable")]
    waiting = {group: list(ordered[groups[ordered] == group]) for group in np.unique(groups[ordered])}
    chosen: list[int] = []
    while len(chosen) < count and any(waiting.values()):
        for own in waiting.values():
            taken = set(part.clusters[chosen]), set(part.subject[chosen])
            own[:] = [row for row in own if part.subject[row] not in taken[1]]
            elsewhere = [row for row in own if part.clusters[row] not in taken[0]]
            if own and len(chosen) < count:
                chosen.append((elsewhere or own)[0])
    found = np.array(chosen, dtype=np.int64)
    return found[np.argsort(groups[found], kind="stable")]


def _fits(
    settings: Mapping, data: StudyData, splits: Path, run: Path, inference: Path | None
) -> Iterator[tuple[Fits, str, str]]:
    """Each training with its variant in the results and that of its data."""
    has_own = registry.model(settings["model"]).weights_from is None
    for variant, method, folds, predictor, first in fitted(settings, data, splits, run, inference):
        own = bool(method.uses_clusters) and has_own
        samples = data.samples.get(variant.data, {})
        yield Fits(method, data.parts[variant.data], samples, folds, predictor, own, first), variant.name, variant.data


def _looked(fits: Fits) -> Iterator[Look]:
    for fold in tqdm(list(fits.folds), desc="Latents", unit="network", disable=None):
        key = (fold.seed, fold.fold)
        yield _look(fits, key, "seen", fold.test, "error")
        if "unseen" in fits.parts:
            own = "infer" if fits.predictor is not None else "population"
            yield _look(fits, key, "unseen", fits.parts["unseen"].rows_of(fold.seed), own)


def _look(fits: Fits, key: tuple[int, int], part: str, rows: np.ndarray, new_clusters: str) -> Look:
    """Look at some rows, a few hundred at a time."""
    found = []
    for start in range(0, len(rows), ROWS_AT_ONCE):
        # Taken out of the data, so that only these are brought to the device.
        some = fits.parts[part].take(rows[start : start + ROWS_AT_ONCE])
        how = {"new_clusters": new_clusters, "cluster_inference": fits.predictor}
        made = fits.method.reconstruct(some, {key: np.arange(len(some))}, **how)[key]
        original = some.X.astype(np.float32) / 255
        errors = [np.square(image - original, dtype=np.float64).mean((1, 2, 3)) for image in (made.fixed, made.mixed)]
        looks = [statistics(image[:, 0]) for image in (original, made.fixed, made.mixed)]
        found.append((made.latent, *(error.astype(np.float32) for error in errors), *looks))
    return Look(*key, part, np.asarray(rows), *(np.concatenate(arrays) for arrays in zip(*found, strict=True)))


def _errors(fits: Fits, look: Look) -> Iterator[pd.DataFrame]:
    """Errors of each image, by partition."""
    part = fits.parts[look.part]
    frame = pd.DataFrame(
        {"cluster": part.clusters[look.rows].astype(str), "subject": part.subject[look.rows].astype(str)}
    )
    frame = frame.assign(seed=look.seed, fold=look.fold + fits.first_fold)
    frame["note"] = fits.method.notes_.get((look.seed, look.fold), "")
    partitions = {look.part: look.error_mixed}
    if fits.has_effects:
        partitions[f"{look.part}_population"] = look.error_fixed
    for partition, error in partitions.items():
        yield frame.assign(partition=partition, error=np.where(np.isfinite(error), error, np.nan).astype(np.float64))


def _mean_errors(errors: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Mean over images, as rows of a table of metrics."""
    rows = []
    for key, own in errors.groupby(by, sort=True):
        value, notes = float(own["error"].mean(skipna=False)), [own["note"].iloc[0]]
        if math.isnan(value):
            notes.insert(0, "reconstructions are not finite")
        rows.append((*key, "mse", value, len(own), "; ".join(note for note in notes if note)))
    return pd.DataFrame(rows, columns=[*by, "metric", "value", "n", "note"])


def _readings(fits: Fits, look: Look) -> pd.DataFrame:
    """Rows of metrics read off one fit's latents."""
    part, rows = fits.parts[look.part], look.rows
    clusters, subjects, groups = part.clusters[rows], part.subject[rows], fits.groups(look.part, rows)
    true = fits.column(look.part, "phenotype", rows)
    named = "label" if true is None else "true phenotype"
    phenotype = part.y[rows] if true is None else true
    known = _known(fits, look) if look.part == "seen" else None
    found: dict[str, Reading] = separation(look.latent, clusters)
    found["cluster_probe_accuracy"] = cluster_probe(look.latent, clusters, subjects, groups, fitted_to=known)
    found |= variance_partition(look.latent, clusters, groups, phenotype, subjects, named=named)
    told = fits.method.notes_.get((look.seed, look.fold), "")
    frame = pd.DataFrame(
        [(name, *reading) for name, reading in found.items()], columns=["metric", "value", "n", "note"]
    )
    frame["note"] = ["; ".join(note for note in (own, told) if note) for own in frame["note"]]
    return frame.assign(seed=look.seed, fold=look.fold + fits.first_fold, partition=_OF_PART[look.part])


def _known(fits: Fits, look: Look) -> Labelled:
    """Latents of the samples that a fit had for training and validation."""
    key, part = (look.seed, look.fold), fits.parts["seen"]
    (fold,) = (f for f in fits.folds if (f.seed, f.fold) == key)
    rows = np.concatenate([fold.train, fold.validation])
    cuts = [rows[start : start + ROWS_AT_ONCE] for start in range(0, len(rows), ROWS_AT_ONCE)]
    parts = [part.take(cut) for cut in cuts]
    latent = [fits.method.latents(some, {key: np.arange(len(some))})[key] for some in parts]
    return Labelled(np.concatenate(latent), part.clusters[rows])


def _draws(errors: pd.DataFrame, study: str, model: str, draws: int) -> pd.DataFrame:
    """Table `draws` of errors; an image is a prediction that misses a label of 0 by the root of its error."""
    predictions = errors.assign(y_true=0.0, mixed=np.sqrt(errors["error"]))
    return draws_of_model(predictions, ["mse"], study=study, model=model, draws=draws)


def _bytes(images: np.ndarray) -> np.ndarray:
    """The first channel of images of brightness 0..1, as bytes."""
    return np.round(255 * np.clip(np.nan_to_num(images[:, 0]), 0, 1)).astype(np.uint8)


def _write(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    with atomic(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)
