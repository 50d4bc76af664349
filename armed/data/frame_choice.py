"""Which imaging dates are seen and which frames of movies are used (PROTOCOL, section 2, live-cell images)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from armed.data.image_table import NO_FRAME
from armed.data.own_clusters import is_list, is_whole
from armed.errors import Problems, did_you_mean, listed

SHARED = "shared"
"""Stands for the dates with at least two PDX, which the paper takes as seen."""
LEAST_GROUPS = 2
LEAST_SEEN = 2


def seen_clusters(table: pd.DataFrame, seen: str | Sequence[object], problems: Problems) -> list[str]:
    """Choose the seen dates.

    Parameters
    ----------
    table : DataFrame
        Columns cluster, group and y.
    seen : str or sequence
        `SHARED`: all dates with cells of at least `LEAST_GROUPS` PDX. Or names of dates.
    problems : Problems
        Takes names that are not there or have one PDX, too few seen dates, no unseen one, and classes that are not seen.

    Returns
    -------
    list of str, sorted
    """
    named = table[table["cluster"] != ""]
    groups = named.groupby("cluster")["group"].agg(lambda values: sorted(set(values)))
    shared = groups[groups.map(len) >= LEAST_GROUPS].index.tolist()
    before = len(problems.found)
    if seen == SHARED:
        chosen = shared
        if len(shared) < LEAST_SEEN and len(groups):
            problems.add(
                f"{len(shared)} of {len(groups)} dates have at least {LEAST_GROUPS} PDX; expected {LEAST_SEEN} or more,"
                f" as these are the seen ones: add data, or name the seen dates. PDX by date: {_described(groups)}"
            )
    elif not is_list(seen):
        problems.add(f"`seen` is {seen!r}; expected '{SHARED}' or a list of dates.{did_you_mean(str(seen), [SHARED])}")
        return shared
    else:
        chosen = _named(groups, seen, problems)
    if len(problems.found) > before or not len(groups):
        return chosen
    if len(chosen) == len(groups):
        problems.add(
            f"all {len(groups)} dates are seen, none is left unseen; name fewer under `seen`, or add dates (with"
            f" `seen: {SHARED}`, of one PDX)"
        )
    of_seen = named[named["cluster"].isin(chosen)]
    if of_seen["y"].nunique() < named["y"].nunique():
        problems.add(f"the seen dates ({listed(chosen)}) have cells of one class only; expected both")
    return chosen


def check_steps(settings: Mapping, problems: Problems) -> None:
    """Check that `seen_step` and `unseen_step` are whole numbers."""
    for name in ("seen_step", "unseen_step"):
        if not is_whole(settings[name], 1):
            problems.add(f"{name} is {settings[name]!r}; expected a whole number: 4 takes every 4th frame")


def chosen_frames(table: pd.DataFrame, seen: Sequence[str], seen_step: int, unseen_step: int) -> pd.DataFrame:
    """Take every so-many-th frame of each cell, by its place among the cell's frames, from the first on.

    Not stated in the paper whether by place or by number; we take the place, because then no cell is left out whatever its
    frames are numbered by.

    Parameters
    ----------
    table : DataFrame
        As of `armed.data.image_table.ImageTable`: frames of a cell in order. Images that are no frames are all taken.
    seen : sequence of str
    seen_step, unseen_step : int

    Returns
    -------
    DataFrame
        Rows of seen dates first, otherwise in order, with a column `seen` (0/1); index 0..n-1.
    """
    is_seen = table["cluster"].isin(list(seen))
    step = np.where(table["frame"] == NO_FRAME, 1, np.where(is_seen, seen_step, unseen_step))
    place = table.groupby("subject").cumcount().to_numpy()
    kept = table.assign(seen=is_seen.astype(np.int64))[place % step == 0]
    return kept.sort_values("seen", ascending=False, kind="stable", ignore_index=True)


def _named(groups: pd.Series, seen: Sequence[object], problems: Problems) -> list[str]:
    names = [str(name) for name in seen]
    for name in dict.fromkeys(names):
        if name not in groups.index:
            hint = did_you_mean(name, groups.index) or f" There are: {listed(groups.index, 20)}."
            problems.add(f"`seen` names the date '{name}', of which there is no cell.{hint}")
        elif len(groups[name]) < LEAST_GROUPS:
            problems.add(
                f"`seen` names a date with one PDX: {_described(groups[[name]])}; expected at least {LEAST_GROUPS}, as the"
                " effects of date and PDX cannot be told apart there: leave it out of `seen`"
            )
        if names.count(name) > 1:
            problems.add(f"`seen` names the date '{name}' {names.count(name)} times; expected each once")
    if len({*names}) < LEAST_SEEN:
        problems.add(f"`seen` names {len({*names})} dates; expected at least {LEAST_SEEN}, or '{SHARED}'")
    return sorted({*names} & {*groups.index})


def _described(groups: pd.Series) -> str:
    return listed([f"{date} ({', '.join(names)})" for date, names in groups.items()], 20)
