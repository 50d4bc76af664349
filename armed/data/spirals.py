"""Simulated spirals in clusters of different radius: the paper's nonlinear simulations.

Two interleaved spirals; the label says which. Every cluster has a radius of its own and, where asked for, a
class ratio of its own and probe features that know the ratio and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import InitVar, dataclass, fields
from pathlib import Path

import numpy as np
import pandas as pd

from armed.data.clustered import ClusteredData
from armed.data.study import TRUTH_COLUMNS, StudyData
from armed.errors import ConfigError, DataError, Problems, did_you_mean
from armed.reproducibility import derive_seed

N_CLASSES = 2
RATIO_RANGE = (0.1, 0.9)
SMALLEST_CLUSTER = 10  # so that the most unequal ratio still leaves both classes

AUTHORS_DATASET = {
    "dataset_seed": 48,
    "n_clusters": 10,
    "n_per_cluster": 1000,
    "radius_mean": 1.0,
    "radius_sd": 0.3,
    "noise": 0.1,
    "degrees": 360,
    "n_probes": 0,
    "ratio_sd": 0.0,
}
"""Settings of the dataset behind the authors' published numbers."""

Generator = np.random.Generator | np.random.RandomState


@dataclass(frozen=True)
class SpiralSettings:
    """The `data:` block of a spirals study. Defaults are in config/config.yaml only.

    Parameters
    ----------
    dataset_seed : int or None
        Seed of NumPy's legacy generator for one dataset that all seeds share (48: the authors'); None: a
        dataset per seed.
    resampled : bool
        Also a dataset per seed, as variant ``resampled``.
    n_clusters, n_per_cluster : int
        Seen clusters, and points in each.
    n_unseen_clusters, n_per_unseen_cluster : int
        Unseen clusters, and points in each (also the points per cluster of the part ``deconfounded``).
    radius_mean, radius_sd : float
        Radii are normal; a negative radius swaps the classes.
    noise : float
        S.d. of the noise added to each coordinate.
    degrees : int
        Angles are uniform over the integer degrees in [0, degrees).
    n_probes : int
        Probe features, which predict the label only through the cluster.
    ratio_sd : float
        S.d. over clusters of the share of class 1, clipped to [0.1, 0.9]; 0: one half everywhere.
    probe_sd : float
        S.d. of a probe around its cluster's ratio.

    Raises
    ------
    ConfigError
        With all values that cannot be.
    """

    dataset_seed: int | None
    resampled: bool
    n_clusters: int
    n_per_cluster: int
    n_unseen_clusters: int
    n_per_unseen_cluster: int
    radius_mean: float
    radius_sd: float
    noise: float
    degrees: int
    n_probes: int
    ratio_sd: float
    probe_sd: float
    where: InitVar[str] = "the settings of a spirals study"

    def __post_init__(self, where: str) -> None:
        self._check(Problems(ConfigError, where))

    @classmethod
    def from_block(cls, block: dict, where: str) -> SpiralSettings:
        """Make settings from a config block; `where` names the block in errors."""
        problems = Problems(ConfigError, where)
        known = [field.name for field in fields(cls)]
        for key in block:
            if key not in known:
                problems.add(f"unknown key '{key}'.{did_you_mean(key, known)} Known: {', '.join(known)}")
        problems.found += [f"'{key}' is missing" for key in known if key not in block]
        problems.raise_if_any()
        return cls(**block, where=where)

    def _check(self, problems: Problems) -> None:
        def need(name: str, ok: bool, expected: str) -> None:
            if not ok:
                problems.add(f"{name} is {getattr(self, name)!r}; expected {expected}")

        seed = self.dataset_seed
        need(
            "dataset_seed",
            seed is None or (_is_int(seed) and 0 <= seed < 2**32),
            "null or an integer in [0, 2**32)",
        )
        need("resampled", isinstance(self.resampled, bool), "true or false")
        least = {"n_clusters": 2, "n_unseen_clusters": 1, "degrees": 2, "n_probes": 0}
        least |= {"n_per_cluster": SMALLEST_CLUSTER, "n_per_unseen_cluster": SMALLEST_CLUSTER}
        for name, low in least.items():
            value = getattr(self, name)
            need(name, _is_int(value) and value >= low, f"an integer of at least {low}")
        need("radius_mean", _is_number(self.radius_mean), "a finite number")
        for name in ("radius_sd", "noise", "ratio_sd", "probe_sd"):
            value = getattr(self, name)
            need(name, _is_number(value) and value >= 0, "a finite number of at least 0")
        problems.raise_if_any()
        if self.n_probes:
            even = self.n_per_unseen_cluster % 2 == 0
            need("n_per_unseen_cluster", even, "an even number, since deconfounded clusters are half class 1")
        if self.resampled and seed is None:
            problems.add("resampled is true and dataset_seed null, which are the same data; set resampled to false")
        problems.raise_if_any()


def simulate(settings: dict, study: str, seeds: Sequence[int], raw: Sequence[Path] = ()) -> StudyData:
    """Draw all data of a spirals study.

    Parameters
    ----------
    settings : dict
        The study's `data:` block.
    study : str
        Id of the study; part of every derived seed.
    seeds : sequence of int
        Seeds of the study; those that share one dataset have it once, as dataset 0.
    raw : sequence of Path
        None: a simulation has no raw files.

    Returns
    -------
    StudyData
        Parts ``seen``, ``unseen`` (other clusters of the same distribution) and, with probes,
        ``deconfounded``: the seen clusters again, half of each cluster of either class, with probes drawn as
        before and so independent of the label. `truth` has the radius of each cluster and `ratio`, the share
        of class 1 in that part (0.5 in ``deconfounded``; its probes are around the ratio of the part
        ``seen``).

    Raises
    ------
    ConfigError
        The settings cannot be.
    DataError
        No seeds, or a seed twice.
    """
    block = SpiralSettings.from_block(settings, f"studies.{study}.data")
    seeds = [int(seed) for seed in seeds]
    if not seeds or len(set(seeds)) < len(seeds):
        raise DataError(f"The seeds of {study} are {seeds}; expected at least one, each once.")
    parts, truth = {}, []
    for variant, drawn in _draw_variants(block, study, seeds).items():
        names = next(iter(drawn.values()))
        parts[variant] = {
            name: _assemble(block, {id: dataset[name] for id, dataset in drawn.items()}) for name in names
        }
        for id, dataset in drawn.items():
            for name, clusters in dataset.items():
                truth += [(variant, id, name, *row) for row in clusters.truth()]
    return StudyData(parts, pd.DataFrame(truth, columns=list(TRUTH_COLUMNS)))


def spiral_curves(radius: float, *, degrees: int = 360, per_degree: int = 1) -> np.ndarray:
    """Return the two classes' spirals of a cluster, without noise.

    Parameters
    ----------
    radius : float
        The cluster's radius.
    degrees : int
        Length of the spirals.
    per_degree : int
        Points per degree.

    Returns
    -------
    array, shape (2, degrees * per_degree - per_degree + 1, 2)
        Class, point along the curve, coordinate. The outermost point is at the largest angle that can be
        drawn, degrees - 1.
    """
    angles = np.deg2rad(np.linspace(0, degrees - 1, (degrees - 1) * per_degree + 1))
    return np.stack([_spiral(angles, k, radius) for k in range(N_CLASSES)])


def bayes_label(X: np.ndarray, radius: float, *, degrees: int = 360) -> np.ndarray:
    """Return the class of the nearer spiral: the true decision boundary of a cluster.

    This is the limit of the Bayes rule for equal classes as the noise goes to 0. How the paper draws its true
    boundary is not stated; we take the nearer spiral because it needs no more than the cluster's radius.

    Parameters
    ----------
    X : array, shape (n, 2) or (n, 2 + n_probes)
        Points of the plane; further columns are ignored.
    radius : float
        The cluster's radius.
    degrees : int
        Length of the spirals.

    Returns
    -------
    array of int64, shape (n,)
        0 where the two are equally near, so everywhere at radius 0.
    """
    from scipy.spatial import cKDTree  # slow to load, and for this alone

    points = np.asarray(X, dtype=np.float64)[:, :2]
    first, second = (cKDTree(curve).query(points)[0] for curve in spiral_curves(radius, degrees=degrees, per_degree=4))
    return (second < first).astype(np.int64)


@dataclass(frozen=True)
class _Clusters:
    """The clusters of one part of one dataset."""

    labels: list[str]
    radii: np.ndarray
    ratios: np.ndarray  # share of class 1
    X: np.ndarray
    y: np.ndarray

    def truth(self) -> list[tuple[str, float, float]]:
        return [
            (label, float(radius), float(ratio))
            for label, radius, ratio in zip(self.labels, self.radii, self.ratios, strict=True)
        ]


def _draw_variants(s: SpiralSettings, study: str, seeds: list[int]) -> dict[str, dict[int, dict[str, _Clusters]]]:
    """Datasets by variant and dataset id."""
    variants = {}
    if s.dataset_seed is not None:
        legacy = np.random.RandomState(s.dataset_seed)
        variants["main"] = {0: _draw_dataset(s, study, "shared data", s.dataset_seed, legacy)}
    if s.dataset_seed is None or s.resampled:
        variants["resampled" if variants else "main"] = {
            seed: _draw_dataset(s, study, "data", seed, np.random.default_rng(derive_seed("data", study, seed)))
            for seed in seeds
        }
    return variants


def _draw_dataset(s: SpiralSettings, study: str, purpose: str, key: int, rng: Generator) -> dict[str, _Clusters]:
    """All parts of one dataset. Each has a stream of its own, so no setting of one part shifts another."""

    def stream(part: str) -> np.random.Generator:
        return np.random.default_rng(derive_seed(f"{purpose}, {part}", study, key))

    # For the authors' dataset the calls below must stay in their order: radii, then points cluster by
    # cluster. Where ratios and probes come in it is not stated in the paper; ratios must precede the points,
    # and we draw probes last.
    seen_radii, seen_ratios = _draw_effects(s, rng, s.n_clusters)
    seen = _draw_clusters(s, rng, "c", seen_radii, seen_ratios, s.n_per_cluster)
    unseen_rng = stream("unseen")
    effects = _draw_effects(s, unseen_rng, s.n_unseen_clusters)
    dataset = {
        "seen": seen,
        "unseen": _draw_clusters(s, unseen_rng, "u", *effects, s.n_per_unseen_cluster),
    }
    if s.n_probes:
        half = np.full(s.n_clusters, 0.5)
        dataset["deconfounded"] = _draw_clusters(
            s, stream("deconfounded"), "c", seen_radii, half, s.n_per_unseen_cluster, probe_means=seen_ratios
        )
    return dataset


def _draw_effects(s: SpiralSettings, rng: Generator, n_clusters: int) -> tuple[np.ndarray, np.ndarray]:
    radii = rng.normal(s.radius_mean, s.radius_sd, size=n_clusters)
    if s.ratio_sd == 0:
        return radii, np.full(n_clusters, 0.5)
    return radii, np.clip(rng.normal(0.5, s.ratio_sd, size=n_clusters), *RATIO_RANGE)


def _draw_clusters(
    s: SpiralSettings,
    rng: Generator,
    prefix: str,
    radii: np.ndarray,
    ratios: np.ndarray,
    n_per_cluster: int,
    probe_means: np.ndarray | None = None,
) -> _Clusters:
    points, labels = [], []
    for radius, ratio in zip(radii, ratios, strict=True):
        ones = round(ratio * n_per_cluster)
        for k, size in enumerate((n_per_cluster - ones, ones)):
            degrees = _integers(rng, s.degrees, size)
            points.append(_spiral(np.deg2rad(degrees), k, radius) + rng.normal(scale=s.noise, size=(size, 2)))
            labels.append(np.full(size, k))
    X = np.concatenate(points)
    if s.n_probes:
        means = np.repeat(ratios if probe_means is None else probe_means, n_per_cluster)[:, None]
        X = np.hstack([X, rng.normal(means, s.probe_sd, size=(len(X), s.n_probes))])
    width = max(2, len(str(len(radii) - 1)))
    names = [f"{prefix}{c:0{width}d}" for c in range(len(radii))]
    return _Clusters(names, radii, ratios, X, np.concatenate(labels))


def _spiral(angles: np.ndarray, k: int, radius: float) -> np.ndarray:
    """Points of class k at the given angles (radians), shape (n, 2).

    ``max(t)`` is the largest angle *drawn* for this class and cluster, not the largest possible: only then
    does the authors' dataset have the feature means (-0.00227, 0.00003).
    """
    phase = 2 * np.pi * k / N_CLASSES
    longest = angles.max() or 1.0  # all angles 0: every point is the origin, whatever the divisor
    x1 = -np.cos(angles - phase) * angles * radius / longest
    x2 = np.sin(angles - phase) * angles * radius / longest
    return np.column_stack([x1, x2])


def _integers(rng: Generator, high: int, size: int) -> np.ndarray:
    if isinstance(rng, np.random.RandomState):
        return rng.randint(0, high, size=size)
    return rng.integers(0, high, size=size)


def _assemble(s: SpiralSettings, datasets: dict[int, _Clusters]) -> ClusteredData:
    """One part of all datasets of a variant; its clusters have the same number of points each."""
    parts = list(datasets.values())
    clusters = [np.repeat(part.labels, len(part.y) // len(part.labels)) for part in parts]
    names = ("x1", "x2", *(f"probe{j + 1}" for j in range(s.n_probes)))
    return ClusteredData(
        X=np.concatenate([part.X for part in parts]),
        y=np.concatenate([part.y for part in parts]),
        clusters=np.concatenate(clusters),
        feature_names=names,
        dataset=np.repeat(list(datasets), [len(part.y) for part in parts]),
    )


def _is_int(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool) and math.isfinite(value)
