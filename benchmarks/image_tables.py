"""The two tables of training on images, from the repeats of all cases."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from benchmarks.image_worker import ImageWorker

SAME = ["method", "size", "device"]
"""What a case has in common with the plain loop that it is compared with."""


def comparison(workers: Sequence[ImageWorker]) -> pd.DataFrame:
    """Table `benchmark_images`: every case; `ratio` is that of the medians, its range that of repeats taken in turn.

    Cases whose plain loop could not be measured have no ratio.
    """
    plain = {_same(w): _seconds(w) for w in workers if w.case.engine == "plain"}
    return pd.DataFrame([_row(w, plain.get(_same(w))) for w in workers])


def parts(workers: Sequence[ImageWorker]) -> pd.DataFrame:
    """Table `benchmark_images_profile`: where the time of a step goes, in the cases that were profiled.

    Parts that a case has not are left out.
    """
    return pd.DataFrame(
        [
            {**_case(w), "part": name, "ms_per_image": 1e3 * seconds, "share": seconds / sum(w.parts.values())}
            for w in workers
            for name, seconds in w.parts.items()
            if seconds
        ]
    )


def profile_text(table: pd.DataFrame) -> str:
    """The table of parts for a reader: ms an image, a row for each part, a column for each case."""
    order = list(dict.fromkeys(table["part"]))
    wide = table.pivot_table(
        index="part",
        columns=["size", "device", "method", "engine", "precision"],
        values="ms_per_image",
        sort=False,
        observed=True,
    ).loc[order]
    wide.loc["all"] = wide.sum()
    return wide.to_string(float_format=lambda v: f"{v:.2f}")


def _row(worker: ImageWorker, plain: np.ndarray | None) -> dict:
    case, seconds = worker.case, _seconds(worker)
    loading = np.array(worker.repeats)[:, 1]
    unknown = np.full(1, np.nan)
    ratios = unknown if plain is None else plain[: len(seconds)] / seconds[: len(plain)]
    return {
        **_case(worker),
        "threads": case.threads,
        "steps": case.steps,
        "repeats": len(seconds),
        "images_per_s": 1 / np.median(seconds),
        "images_low": 1 / seconds.max(),
        "images_high": 1 / seconds.min(),
        "ms_per_image": 1e3 * np.median(seconds),
        "peak_mb": worker.peak_mb,
        "loading_share": np.median(loading / seconds),
        "ratio": np.nan if plain is None else np.median(plain) / np.median(seconds),
        "ratio_low": ratios.min(),
        "ratio_high": ratios.max(),
    }


def _case(worker: ImageWorker) -> dict:
    case = worker.case
    return {key: getattr(case, key) for key in (*SAME, "engine", "precision")}


def _same(worker: ImageWorker) -> tuple:
    return tuple(getattr(worker.case, key) for key in SAME)


def _seconds(worker: ImageWorker) -> np.ndarray:
    return np.array(worker.repeats)[:, 0]
