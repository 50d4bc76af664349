"""What the page on reliability says of each measurement: a sentence with its numbers, and a table."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd


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
    # Angle brackets too: what an attack tried must not be markup of this page.
    return str(value).replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
