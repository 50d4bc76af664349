"""What was run, as the report tells it: studies, versions, machine, time."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from armed import labels, registry, reproducibility
from armed.tables import number

_MINUTE = 60


def studies_run(studies: Iterable[str], metrics: pd.DataFrame, results_dir: Path) -> pd.DataFrame:
    """Tell what was run, by study, counted in the metrics themselves; times are sums over jobs, which ran side by side.

    Parameters
    ----------
    studies : iterable of str
    metrics : pandas.DataFrame
        `results/metrics.tsv`.
    results_dir : Path
        Its `runs/*/*/run.json` tell the time of fits, its `timings/` that of all jobs.

    Returns
    -------
    pandas.DataFrame
        One row per study.
    """
    lines = []
    for study in studies:
        rows = metrics[metrics["study"] == study]
        fits = rows[(rows["fold"] >= 0) & ~rows["model"].isin(registry.WITHOUT_FITS)]
        fits = fits.drop_duplicates(["model", "variant", "seed", "fold"])
        lines.append(
            {
                "Study": labels.study(study),
                "Data": "; ".join(labels.source(s) for s in rows["source"].unique()) or "not run",
                "Models": rows["model"].nunique(),
                "Seeds": rows["seed"].nunique(),
                "Folds": fits["fold"].nunique(),
                "Trained models": len(fits),
                "Fits (min)": _minutes(r["wall_seconds"] for r in _records(results_dir, study) if "wall_seconds" in r),
                "All jobs (min)": _minutes(_job_seconds(results_dir, study)),
            }
        )
    return pd.DataFrame(lines)


def stand_ins(metrics: pd.DataFrame) -> list[str]:
    """Name the studies whose data were simulated in place of data that were not available."""
    return [labels.study(s) for s in metrics.loc[metrics["source"] == "stand-in", "study"].unique()]


def facts(results_dir: Path) -> pd.DataFrame:
    """Tell date, commit, machine and time as the fits recorded them; each value that occurs, where they differ."""
    records, told = _told(results_dir)
    days = sorted({record["finished"][:10] for record in records if "finished" in record})
    seconds = [record["wall_seconds"] for record in records if "wall_seconds" in record]
    lines = [
        ("Date of the fits", " to ".join(dict.fromkeys([days[0], days[-1]])) if days else ""),
        ("Commit", _values(record.get("git_commit") for record in told)),
        ("Files changed since that commit", ", ".join(sorted({f for r in told for f in r.get("changed_files", ())}))),
        ("Processor", _values(record.get("processor") for record in told)),
        ("Platform", _values(record.get("platform") for record in told)),
        ("CPU cores", _values(record.get("cpu_count") for record in told)),
        ("Device", _values(record.get("device") for record in told)),
        ("Time of all fits", f"{sum(seconds) / _MINUTE:.1f} min" if seconds else ""),
    ]
    return pd.DataFrame([line for line in lines if line[1]], columns=["What", "Value"])


def versions(results_dir: Path) -> pd.DataFrame:
    """Tell the versions of Python and of the packages that decide the numbers, as the fits recorded them."""
    _, told = _told(results_dir)
    lines = [("Python", _values(record.get("python") for record in told))]
    for package in reproducibility.REPORTED_PACKAGES:
        lines.append((package, _values(record.get("packages", {}).get(package) for record in told)))
    return pd.DataFrame([line for line in lines if line[1]], columns=["What", "Version"])


def _told(results_dir: Path) -> tuple[list[dict], list[dict]]:
    """What the fits recorded, and the same with the entries of `environment` beside them; ours where there is no fit."""
    records = _records(results_dir)
    told = [{**record, **record.get("environment", {})} for record in records]
    return records, told or [reproducibility.environment()]


def _records(results_dir: Path, study: str = "*") -> list[dict]:
    paths = sorted(Path(results_dir).glob(f"runs/{study}/*/run.json"))
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths]


def _job_seconds(results_dir: Path, study: str) -> list[float]:
    """Seconds of the jobs of a study, from what Snakemake measured."""
    folder = Path(results_dir) / "timings"
    paths = [p for p in sorted(folder.rglob("*.tsv")) if study in p.relative_to(folder).with_suffix("").parts]
    return [float(pd.read_csv(path, sep="\t")["s"].sum()) for path in paths]


def _minutes(seconds: Iterable[float]) -> str:
    seconds = list(seconds)
    return number(sum(seconds) / _MINUTE, 1) if seconds else number(float("nan"))


def _values(values: Iterable[object]) -> str:
    return ", ".join(dict.fromkeys(str(v) for v in values if v is not None))
