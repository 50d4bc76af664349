"""Made-up results of a study of cells, in the formats of `armed.results` and of its latents: for tests of figures, tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter
from synthetic_results import comparison_of, paired_tests_of, summary_of

from armed import results

STUDY = "live_cell"
MODELS = ("conventional", "domain_adversarial", "armed", "armed_no_adversary", "armed_randomized_z")
DATES = tuple(f"2016{month:02d}{day}" for month, day in zip(range(1, 9), (12, 27, 15, 30, 11, 24, 19, 28), strict=True))
GROUPS = ("m405", "m481", "m498", "m610", "m634", "m640", "m691")  # the first three: high efficiency
STATISTICS = ("brightness", "contrast", "sharpness", "snr")
WITH_EFFECTS = ("armed", "armed_no_adversary")
_EFFECT = np.linspace(-1, 1, len(DATES))[[3, 6, 0, 5, 2, 7, 1, 4]]
# How strongly dates show in the latents of a model.
_BATCH = {"conventional": 1.5, "domain_adversarial": 0.3, "armed": 0.4, "armed_no_adversary": 1.2}


def cell(rng: np.random.Generator, size: int) -> np.ndarray:
    """A bright blob with an uneven edge, inner texture and a halo, 0 to 1."""
    y, x = np.mgrid[:size, :size] / (size - 1) - 0.5
    angle, radius = np.arctan2(y, x), np.hypot(x, y)
    waves = sum(rng.normal(0, 0.1 / k) * np.cos(k * angle + rng.uniform(0, 6.3)) for k in range(2, 7))
    inside = 1 / (1 + np.exp((radius - 0.26 * (1 + waves)) * 60))
    texture = gaussian_filter(rng.normal(size=(size, size)), size / 28)
    halo = gaussian_filter(inside, size / 16) - inside
    return 0.42 + 0.18 * inside * (1 + 1.2 * texture / texture.std() / 3) + 0.35 * halo.clip(0)


def under(image: np.ndarray, date: int) -> np.ndarray:
    """The image as a date shows it: brighter or darker, with a gradient of light."""
    gradient = np.linspace(-1, 1, image.shape[-1])
    return np.clip(image + 0.07 * _EFFECT[date] + 0.05 * _EFFECT[::-1][date] * gradient, 0, 1)


def latents(model: str, *, size: int = 64, per_cell: int = 6, shown: int = 7, fits: int = 2) -> dict[str, np.ndarray]:
    """What the job that makes latents keeps of a model: four cells of each of two groups at every date, and shown cells."""
    columns: dict[str, list] = {}
    for seed in range(fits):
        rng = np.random.default_rng(100 * seed + MODELS.index(model))
        for partition in ("seen", "unseen"):
            for name, values in _of_fit(model, partition, per_cell, rng).items():
                columns.setdefault(name, []).append(values)
            columns.setdefault("seed", []).append(np.full(len(values), seed))
    kept = {name: np.concatenate(values) for name, values in columns.items()}
    kept |= {"fold": np.zeros(len(kept["seed"]), int), "statistic_names": np.array(STATISTICS)}
    return kept | _shown(model, size, shown)


def _of_fit(model: str, partition: str, per_cell: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    known = [
        (d, g, c) for d in range(len(DATES)) for g in (d % 7, (d + 3) % 7) for c in range(4) for _ in range(per_cell)
    ]
    date, group, number = np.array(known).T
    batch = _BATCH.get(model, _BATCH["armed"])
    axes = np.random.default_rng(5).normal(size=(3, len(DATES), 12))
    latent = batch * axes[0, date] + 0.5 * axes[1, group] + 0.8 * (group < 3)[:, None] * axes[2, 0]
    latent = latent + rng.normal(size=latent.shape)
    level = np.stack(
        [0.45 + 0.07 * _EFFECT[date], 0.1 + 0.02 * _EFFECT[date], 0.02 - 0.008 * _EFFECT[date], 9 + 3 * _EFFECT[date]],
        1,
    )
    spread = level.mean(0) * 0.06
    mean = level.mean(0)
    kept = batch > 1 and model not in WITH_EFFECTS  # what a model without random effects still tells of dates
    share = {"original": 1.0, "fixed": 0.9 if kept else 0.25, "mixed": 0.9}
    named = [f"{partition}-{i}" for i in range(len(date))]
    error = 0.0020 if partition == "seen" else 0.0026
    return {
        "latent": latent.astype(np.float32),
        "partition": np.full(len(date), partition),
        "sample_id": np.array(named),
        "subject": np.array([f"{GROUPS[g]}/{DATES[d]}/{c}" for d, g, c in zip(date, group, number, strict=True)]),
        "cluster": np.array(DATES)[date],
        "group": np.array(GROUPS)[group],
        "label": (group >= 3).astype(int),
        "phenotype": (group >= 3) + rng.normal(0, 0.3, len(date)),
        "error_fixed": rng.gamma(20, error / 20, len(date)).astype(np.float32),
        "error_mixed": rng.gamma(20, error / 25, len(date)).astype(np.float32),
        **{
            f"statistics_{name}": (mean + s * (level - mean) + rng.normal(0, 1, level.shape) * spread).astype(
                np.float32
            )
            for name, s in share.items()
        },
    }


def _shown(model: str, size: int, m: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(11)
    groups = np.arange(m) % len(GROUPS)
    dates = np.arange(m) * 3 % len(DATES)
    cells = np.stack([cell(rng, size) for _ in range(m)]) if m else np.zeros((0, size, size))
    drawn = np.stack([under(c, d) for c, d in zip(cells, dates, strict=True)]) if m else cells
    noisy = np.clip(drawn + rng.normal(0, 0.025, drawn.shape), 0, 1)
    blurred = gaussian_filter(cells, (0, 1.2, 1.2))
    own = gaussian_filter(drawn, (0, 1.2, 1.2))
    effects = model in (*WITH_EFFECTS, "armed_randomized_z")
    kept = {
        "shown_image": _bytes(noisy),
        "shown_fixed": _bytes(blurred if effects else own),
        "shown_mixed": _bytes(own),
        "levels": np.array(DATES),
        "shown_id": np.array([f"cell {i}" for i in range(m)]),
        "shown_cluster": np.array(DATES)[dates],
        "shown_group": np.array(GROUPS)[groups],
        "shown_label": (groups >= 3).astype(int),
    }
    if model in WITH_EFFECTS:
        each = [np.stack([under(image, d) for d in range(len(DATES))]) for image in blurred]
        kept["shown_under"] = _bytes(np.stack(each) if m else np.zeros((0, len(DATES), size, size)))
    return kept


def _bytes(images: np.ndarray) -> np.ndarray:
    return np.round(images * 255).astype(np.uint8)


_NOTES = {
    "cluster_probe_accuracy": "chance 0.125; 0.31 by the group alone; 8 clusters",
    "variance": "shared 0.06; rest 0.4; phenotype: true phenotype",
}


def metrics(models: tuple[str, ...] = MODELS, seeds: int = 3) -> pd.DataFrame:
    """Metrics of the study's models, of one fold."""
    rows = []
    for i, model in enumerate(models):
        rng = np.random.default_rng(i)
        told = _BATCH.get(model, _BATCH["armed"]) / 1.6
        values = {
            ("auroc", "seen"): 0.8 + 0.02 * i,
            ("auroc", "unseen"): 0.74 + 0.01 * i,
            ("mse", "seen"): 0.0019 - 0.0002 * i,
            ("mse", "unseen"): 0.0024,
        }
        if model in WITH_EFFECTS:
            values |= {("mse", "seen_population"): 0.0026, ("mse", "unseen_population"): 0.0027}
        for p, less in (("latents", 0.0), ("latents_unseen", 0.06)):
            values |= {("davies_bouldin", p): 9 / (told + less), ("calinski_harabasz", p): 500 * told}
            values |= {("cluster_probe_accuracy", p): 0.15 + 0.7 * told, ("variance_cluster", p): 0.35 * told - less}
            values |= {("variance_group", p): 0.12 + less, ("variance_phenotype", p): 0.03 + 0.01 * i}
        for (metric, partition), value in values.items():
            note = _NOTES.get(metric.partition("_")[0] if metric.startswith("variance") else metric, "")
            for seed in range(seeds):
                drawn = value * (1 + rng.normal(0, 0.03))
                rows.append((STUDY, "stand-in", seed, 0, model, "main", partition, metric, drawn, 400, note))
    return pd.DataFrame(rows, columns=list(results.table("metrics").columns))


def auroc_intervals(summary: pd.DataFrame) -> pd.DataFrame:
    """DeLong's interval of the AUROC, and one of cells that is three times as wide."""
    rows = summary[(summary["metric"] == "auroc") & (summary["ci_method"] == "corrected")]
    columns = list(results.table("auroc_intervals").columns)
    made = [
        rows.assign(method=method, ci_low=rows["mean"] - half, ci_high=rows["mean"] + half, n_fits=3)[columns]
        for method, half in (("delong", 0.01), ("cells", 0.03))
    ]
    return pd.concat(made, ignore_index=True)


def write_cells(folder: Path, models: tuple[str, ...] = MODELS) -> Path:
    """Write the tables and the latents of the study."""
    found = metrics(models)
    summary = summary_of(found)
    frames = {
        "metrics": found,
        "summary": summary,
        "comparison": comparison_of(summary).assign(verdict="not comparable"),
        "paired_tests": paired_tests_of(summary, "auroc"),
        "auroc_intervals": auroc_intervals(summary),
    }
    for name in ("deconfounding", "tuning", "claims"):
        frames[name] = results.empty(name)
    for name, frame in frames.items():
        results.write(name, frame, folder / f"{name}.tsv")
    place = folder / "latents" / STUDY
    place.mkdir(parents=True)
    for model in models:
        np.savez_compressed(place / f"{model}.npz", **latents(model, size=32, per_cell=2))
    return folder
