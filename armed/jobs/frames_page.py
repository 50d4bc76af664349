"""Contact sheets of all imaging dates, and one page with them and their statistics, for a person to see how dates differ."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from armed import labels
from armed.data.frame_statistics import STATISTICS
from armed.jobs.slices_page import file_name, jpeg
from armed.pages import html, render
from armed.plotting.contact_sheets import Tile, contact_sheet
from armed.tables import number

MOST_CELLS = 24  # on the sheet of a date
MOST_DATES = 64  # on the overview
WIDEST = 1200  # pixels of a sheet inside of the page; the files are as large as the images make them


@dataclass(frozen=True, eq=False)
class Sheets:
    """Files of contact sheets: one of each date (seen ones first), and one with an image of each."""

    of_cluster: dict[str, Path]
    overview: Path


def write_sheets(
    frames: pd.DataFrame, clusters: pd.DataFrame, images: np.ndarray, folder: Path, *, is_stand_in: bool
) -> Sheets:
    """Write ``sheets/<cluster>.png`` and ``overview.png``.

    Parameters
    ----------
    frames, clusters : DataFrame
        As in frames.tsv and clusters.tsv.
    images : array of uint8, shape (n, size, size)
    folder : Path
    is_stand_in : bool
        Whether the images are stand-ins, which each sheet then says.
    """
    (folder / "sheets").mkdir()
    source = f" · {labels.source('stand-in')}" if is_stand_in else ""
    written, names, typical = {}, set(), []
    for cluster in clusters.itertuples(index=False):
        rows = frames[(frames["cluster"] == cluster.cluster) & (frames["seen"] == cluster.seen)]
        shown = cells_shown(rows)
        columns = (shown[name] for name in ("row", "sample_id", "class"))
        tiles = [Tile(np.asarray(images[row]), *texts) for row, *texts in zip(*columns, strict=True)]
        name = file_name(str(cluster.cluster), names)
        names.add(name.lower())
        subtitle = (
            f"{_part(cluster.seen)} · {cluster.groups} · {len(shown)} of {cluster.cells} cells, {cluster.images} images"
            f" · brightness {number(cluster.brightness_mean, 3)} ± {number(cluster.brightness_sd, 3)}{source}"
        )
        contact_sheet(f"Date {cluster.cluster}", subtitle, tiles).save(folder / "sheets" / name, optimize=True)
        written[cluster.cluster] = folder / "sheets" / name
        middle = rows.loc[(rows["brightness"] - rows["brightness"].median()).abs().idxmin()]
        typical.append(Tile(np.asarray(images[middle["row"]]), str(cluster.cluster), _part(cluster.seen)))
    shown = (
        f"{len(typical[:MOST_DATES])} of {len(typical)} dates, seen ones first: of each the image of median brightness"
    )
    overview = contact_sheet("All dates", f"{shown}{source}", typical[:MOST_DATES])
    overview.save(folder / "overview.png", optimize=True)
    return Sheets(written, folder / "overview.png")


def cells_shown(frames: pd.DataFrame) -> pd.DataFrame:
    """Choose frames of one date to show: the middle frame of each of at most `MOST_CELLS` cells, of all groups by turns.

    Parameters
    ----------
    frames : DataFrame
        Columns group, subject, in the order of frames.tsv.

    Returns
    -------
    DataFrame
        Some of the rows, in order.
    """
    place = frames.groupby("subject").cumcount()
    middle = frames[place == frames.groupby("subject")["subject"].transform("size") // 2]
    turn = middle.groupby("group").cumcount()
    first = middle.assign(turn=turn).sort_values(["turn", "group"], kind="stable").index[:MOST_CELLS]
    return middle.loc[sorted(first)]


def write_page(
    frames: pd.DataFrame, clusters: pd.DataFrame, sheets: Sheets, remarks: pd.DataFrame, out: Path, *, is_stand_in: bool
) -> None:
    """Write one HTML file that needs no other file and no network.

    Parameters
    ----------
    frames, clusters, remarks : DataFrame
        As in frames.tsv, clusters.tsv and remarks.tsv.
    sheets : Sheets
        What `write_sheets` wrote.
    out : Path
        The page.
    is_stand_in : bool
    """
    facts = (
        f"{len(frames)} images of {frames['subject'].nunique()} cells of {frames['group'].nunique()} PDX, on"
        f" {int((clusters['seen'] == 1).sum())} seen and {int((clusters['seen'] == 0).sum())} unseen dates"
    )
    page = render(
        "frames.html.j2",
        source=labels.source("stand-in") if is_stand_in else "",
        facts=facts,
        most=MOST_CELLS,
        remarks=html(remarks.rename(columns=str.capitalize)),
        clusters=html(_clusters(clusters)),
        groups=html(_groups(frames)),
        statistics=STATISTICS,
        overview=jpeg(sheets.overview, WIDEST),
        sheets=[
            {"cluster": cluster, "id": path.stem, "data": jpeg(path, WIDEST)}
            for cluster, path in sheets.of_cluster.items()
        ],
    )
    out.write_text(page, encoding="utf-8")


def _clusters(clusters: pd.DataFrame) -> pd.DataFrame:
    names = {"cluster": "Date", "groups": "PDX", "cells": "Cells", "images": "Images"}
    table = clusters[list(names)].rename(columns=names)
    table.insert(1, "Part", [_part(seen) for seen in clusters["seen"]])
    for column in [c for c in clusters if c.startswith("images_")]:
        table[f"{column.removeprefix('images_')}, images"] = clusters[column]
    for name in STATISTICS:
        digits = 1 if name in ("sharpness", "snr") else 3
        pairs = zip(clusters[f"{name}_mean"], clusters[f"{name}_sd"], strict=True)
        table[name] = [
            number(m, digits) if pd.isna(sd) else f"{number(m, digits)} ± {number(sd, digits)}" for m, sd in pairs
        ]
    return table


def _groups(frames: pd.DataFrame) -> pd.DataFrame:
    """Where each PDX was imaged: what of it is confounded with the date."""
    rows = []
    for (label, group), of_group in frames.groupby(["class", "group"]):
        seen = of_group[of_group["seen"] == 1]
        row = {"PDX": group, "Class": label, "Cells": of_group["subject"].nunique(), "Images": len(of_group)}
        unseen = of_group["cluster"].nunique() - seen["cluster"].nunique()
        rows.append(row | {"Seen dates": seen["cluster"].nunique(), "Unseen dates": unseen})
    return pd.DataFrame(rows)


def _part(seen: int) -> str:
    return "seen" if seen else "unseen"
