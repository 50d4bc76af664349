"""Contact sheets of all sites, and one page with them and their statistics, for a person to reject bad slices."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from armed import labels
from armed.data.slice_statistics import FEW, STATISTICS, far_from_site
from armed.pages import html, render
from armed.plotting.contact_sheets import Tile, contact_sheet
from armed.tables import number

JPEG_QUALITY = 85  # of the sheets inside the page; the files are PNG


def write_sheets(slices: pd.DataFrame, images: np.ndarray, folder: Path, *, is_stand_in: bool) -> dict[str, Path]:
    """Write a PNG for each site that has slices.

    Parameters
    ----------
    slices : DataFrame
        As in slices.tsv.
    images : array of uint8, shape (n, size, size)
    folder : Path
        Made where it does not exist.
    is_stand_in : bool
        Whether the volumes are stand-ins, which each sheet then says.

    Returns
    -------
    dict of str to Path
        Site -> file, sorted by site.
    """
    folder.mkdir(parents=True, exist_ok=True)
    far, written, names = far_from_site(slices), {}, set()
    for site, rows in slices[slices["status"] == "ok"].groupby("site", sort=True):
        rows = rows.sort_values(["diagnosis", "sample_id"])
        tiles = [
            Tile(
                images[r.row],
                r.sample_id,
                f"{r.diagnosis} · {r.scanner}"[:24],
                (r.point_row, r.point_column),
                far[i] != "",
            )
            for i, r in zip(rows.index, rows.itertuples(index=False), strict=True)
        ]
        counts = ", ".join(f"{n} {name}" for name, n in rows["diagnosis"].value_counts().sort_index().items())
        source = f" · {labels.source('stand-in')}" if is_stand_in else ""
        subtitle = f"{counts}{source} · subject's right on the left; ticks: hippocampus; framed: unlike the others"
        name = file_name(site, names)
        names.add(name.lower())
        contact_sheet(f"Site {site}", subtitle, tiles).save(folder / name, optimize=True)
        written[site] = folder / name
    return written


def write_page(
    slices: pd.DataFrame,
    sites: pd.DataFrame,
    sheets: Mapping[str, Path],
    remarks: pd.DataFrame,
    out: Path,
    *,
    is_stand_in: bool,
) -> None:
    """Write one HTML file that needs no other file and no network.

    Parameters
    ----------
    slices, sites : DataFrame
        As in slices.tsv and sites.tsv.
    sheets : mapping of str to Path
        What `write_sheets` wrote.
    remarks : DataFrame
        What was repaired while reading: columns what, reason, count.
    out : Path
        The page.
    is_stand_in : bool
    """
    counts = slices["status"].value_counts()
    page = render(
        "slices.html.j2",
        source=labels.source("stand-in") if is_stand_in else "",
        facts=", ".join(f"{n} {status}" for status, n in counts.items()),
        left_out=html(_left_out(slices)),
        far=html(_far(slices)),
        few=FEW,
        remarks=html(remarks.rename(columns=str.capitalize)),
        sites=html(_sites(sites)),
        statistics=STATISTICS,
        sheets=[
            {
                "site": site,
                "id": path.stem,
                "name": path.name,
                "data": jpeg(path),
                "table": html(_slices(slices, site)),
            }
            for site, path in sheets.items()
        ],
    )
    out.write_text(page, encoding="utf-8")


def _left_out(slices: pd.DataFrame) -> pd.DataFrame:
    rows = slices[slices["status"] != "ok"]
    names = {"sample_id": "Session", "site": "Site", "diagnosis": "Diagnosis", "status": "Status", "reason": "Why"}
    return rows[list(names)].rename(columns=names)


def _far(slices: pd.DataFrame) -> pd.DataFrame:
    far = far_from_site(slices)
    rows = slices[far != ""].assign(far=far[far != ""]).sort_values(["site", "sample_id"])
    names = {"sample_id": "Session", "site": "Site", "diagnosis": "Diagnosis", "far": "Unlike the others of the site"}
    return rows[list(names)].rename(columns=names)


def _sites(sites: pd.DataFrame) -> pd.DataFrame:
    names = {"site": "Site", "scanner": "Scanner", "images": "Images", "subjects": "Subjects", "AD": "AD", "CN": "CN"}
    table = sites[[*names, "left_out"]].rename(columns={**names, "left_out": "Left out"})
    for name in STATISTICS:
        pairs = zip(sites[f"{name}_mean"], sites[f"{name}_sd"], strict=True)
        table[name] = [_short(m) if pd.isna(sd) else f"{_short(m)} ± {_short(sd)}" for m, sd in pairs]
    return table


def _slices(slices: pd.DataFrame, site: str) -> pd.DataFrame:
    rows = slices[(slices["site"] == site) & (slices["status"] == "ok")].sort_values(["diagnosis", "sample_id"])
    names = {"sample_id": "Session", "diagnosis": "Diagnosis", "scanner": "Scanner"}
    table = rows[list(names)].rename(columns=names)
    for name in (*STATISTICS, *(["similarity"] if rows["similarity"].notna().any() else [])):
        table[name] = [_short(value) for value in rows[name]]
    return table


def _short(value: float) -> str:
    if pd.isna(value) or abs(value) >= 100:
        return number(value, 0)
    return f"{value:.3g}".replace("-", "−")


def file_name(site: str, taken: set[str]) -> str:
    """A file name for any site or date, told from the others also where the case of letters does not count."""
    stem = re.sub(r"[^\w-]+", "_", site)[:50] or "_"  # of at most 200 bytes
    names = (f"{stem}.png", *(f"{stem}_{i}.png" for i in range(2, len(taken) + 3)))
    return next(name for name in names if name.lower() not in taken)


def jpeg(path: Path, widest: int | None = None) -> str:
    """A sheet as the address of an image inside of a page, made smaller where it is wider than so many pixels."""
    with Image.open(path) as sheet, io.BytesIO() as content:
        if widest is not None and sheet.width > widest:
            sheet = sheet.resize((widest, round(sheet.height * widest / sheet.width)), Image.Resampling.LANCZOS)
        sheet.save(content, "JPEG", quality=JPEG_QUALITY, optimize=True)
        return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}"
