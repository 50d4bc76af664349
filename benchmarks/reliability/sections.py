"""What the page on reliability says of each measurement: a sentence with its numbers, and a table."""

from __future__ import annotations

import html
import re
import textwrap
from collections.abc import Mapping

import pandas as pd

LONGEST = 260
"""Characters in a cell: the sentence, and what to do, of most messages."""
_FOLDER = re.compile(r"(?<![\w.])/\S*/results\b")  # where a run lay is of no use to a reader


def kills(table: pd.DataFrame) -> str:
    """Kills by signal and by what was killed."""
    same = int(table["identical"].sum())
    counts = table.groupby(["signal", "what"]).agg(kills=("identical", "size"), same=("identical", "sum")).reset_index()
    told = (
        f"{len(table)} kills in {table['trial'].nunique()} runs; of {same} the run ended, after the same command, with the "
        "results of the undisturbed one, byte for byte."
    )
    heads = {"signal": "Signal", "what": "Sent to", "kills": "Kills", "same": "Ended with the same results"}
    return f"{told}\n\n![When kills came and what they hit](reliability_kills.png)\n\n{markdown(counts, heads)}"


def faults(table: pd.DataFrame) -> str:
    """Each fault with its outcome, and what the run said."""
    told = f"{len(table)} faults; {_count(table['outcome'])}. {_ended(table)}"
    heads = {"fault": "Fault", "where": "Where", "outcome": "Outcome", "message": "What it said"}
    return f"{told}\n\n![Outcome of each fault](reliability_faults.png)\n\n{markdown(table, heads)}"


def _ended(table: pd.DataFrame) -> str:
    wrong = table.loc[~table["identical"], "fault"].tolist()
    if not wrong:
        return "When the fault was gone, every run ended with the results of an undisturbed one, byte for byte."
    return (
        f"When the fault was gone, runs did not end with the results of an undisturbed one after: {', '.join(wrong)}."
    )


def hostile(table: pd.DataFrame) -> str:
    """Each attack with its outcome."""
    told = f"{len(table)} attacks; {_count(table['outcome'])}."
    heads = {"attack": "Attack", "where": "Read by", "outcome": "Outcome", "message": "What it said"}
    return f"{told}\n\n![Outcomes of attacks by the place that reads them](reliability_hostile.png)\n\n{markdown(table, heads)}"


def _count(outcomes: pd.Series) -> str:
    return ", ".join(f"{n} {outcome}" for outcome, n in outcomes.value_counts(sort=False).items())


def scale(table: pd.DataFrame) -> str:
    """Each point at its largest size: rows a second in training, peak memory."""
    rows = table[table["stage"].isin(["epoch", "forward and backward"]) | table["note"].notna()]
    heads = {"what": "What", "model": "Model", "rows": "Rows", "clusters": "Clusters", "rows_per_s": "Rows a second"}
    heads |= {"rows_per_cpu_s": "Rows a CPU second", "peak_mb": "Peak MB", "z_mb": "A dense Z, MB", "note": "Note"}
    return f"![Rows a second and memory by rows and by clusters](reliability_scale.png)\n\n{markdown(rows, heads)}"


def paper_plan(table: pd.DataFrame) -> str:
    """Jobs, hours and storage by study; of all models together."""
    fits = table[table["replicas"].notna() & table["gpu_h"].isna()]
    timed = fits["cpu_h"].notna()
    which = f"The {len(fits)} fits on tables were" if timed.all() else f"Of {len(fits)} fits on tables {timed.sum()} were"
    told = (
        f"{table['jobs'].sum()} jobs and {table['gpu_h'].sum():.0f} GPU hours (an estimate: no GPU was measured). {which} "
        f"timed: {fits['cpu_h'].sum():.1f} CPU hours and {fits['storage_gb'].sum():.2f} GB of weights, predictions and scores."
    )
    by = table.groupby("study", sort=False)
    rows = by[["jobs", "replicas", "cpu_h", "gpu_h", "storage_gb"]].sum(min_count=1)
    rows = rows.join(by[["longest_h", "mem_mb"]].max()).reset_index()
    heads = {"study": "Study", "jobs": "Jobs", "replicas": "Networks", "cpu_h": "CPU hours", "gpu_h": "GPU hours"}
    heads |= {"longest_h": "Longest fit, hours", "mem_mb": "Most memory, MB", "storage_gb": "Storage, GB"}
    return f"{told}\n\n{markdown(rows, heads)}"


def planning(table: pd.DataFrame) -> str:
    """Seconds for planning, by the number of jobs."""
    heads = {"studies": "Studies", "jobs": "Jobs", "seconds": "Seconds", "cpu_s": "CPU seconds", "peak_mb": "Peak MB"}
    return markdown(table, heads)


def repeat(table: pd.DataFrame) -> str:
    """What was changed, and how many files differ."""
    heads = {
        "changed": "Changed",
        "files": "Files compared",
        "identical": "The same, byte for byte",
        "differing": "Others",
    }
    heads |= {"largest": "Largest difference"}
    return markdown(table, heads)


def processors(table: pd.DataFrame) -> str:
    """Largest differences of a repetition held to other instructions."""
    heads = {
        "changed": "Held to",
        "model": "Model",
        "weights": "Largest difference of weights",
        "predictions": "of predictions",
    }
    return markdown(table, heads | {"metrics": "of metrics", "beyond": "Means beyond the tolerance"})


def slurm(table: pd.DataFrame) -> str:
    """Scenarios with their jobs."""
    heads = {"scenario": "Scenario", "jobs": "Jobs", "job_ids": "Job ids", "wall_s": "Seconds", "outcome": "Outcome"}
    return markdown(table, heads)


def markdown(table: pd.DataFrame, heads: Mapping[str, str]) -> str:
    """Write columns of a table under headings, numbers to three digits."""
    shown = [name for name in heads if name in table]
    lines = [" | ".join(heads[name] for name in shown), " | ".join("---" for _ in shown)]
    lines += [" | ".join(_cell(value) for value in row) for row in table[shown].itertuples(index=False)]
    return "\n".join(f"| {line} |" for line in lines)


def _cell(value: object) -> str:
    if pd.isna(value):
        return ""
    if isinstance(value, float):
        return f"{value:,.0f}" if value >= 1000 or value == int(value) else f"{value:.3g}"
    text = _FOLDER.sub("FOLDER/results", str(value).replace("\n", " "))
    # Angle brackets too: what an attack tried must not be markup of this page.
    return html.escape(textwrap.shorten(text, LONGEST, placeholder=" ..."), quote=False).replace("|", "\\|")
