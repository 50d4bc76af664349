"""A hand-made ADNIMERGE: 15 subjects with every quirk of such a table; tests/data/test_mci.py has labels and features."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from armed.data import adni_format as fmt

CONTINUOUS = (*fmt.DEMOGRAPHIC, *fmt.BASELINE)
REFERENCE = {name: levels[0] for name, levels in fmt.CATEGORICAL.items()}

# RID: site, DX_bl, visits with their DX in the order of the file, and what differs from the defaults in all its rows.
SUBJECTS: dict[int, tuple[int, str, dict[str, str], dict[str, object]]] = {
    1: (
        11,
        "LMCI",
        {"bl": "MCI", "m06": "MCI", "m12": "Dementia"},
        {"APOE4": 1, "PTGENDER": "Female", "ABETA_bl": ">1700"},
    ),
    2: (
        *(11, "EMCI", {"bl": "MCI", "m12": "MCI", "m24": "MCI", "m36": "Dementia"}),
        {
            "APOE4": 2,
            "PTETHCAT": "Hisp/Latino",
            "PTRACCAT": "Black",
            "PTMARRY": "Divorced",
            "TAU_bl": "<80",
            "FDG_bl": "",
        },
    ),
    3: (11, "LMCI", {"bl": "MCI", "m18": "Dementia", "m24": "MCI"}, {"APOE4": "", "PTAU_bl": ">120"}),
    4: (
        *(11, "LMCI", {"bl": "MCI", "m24": "", "m36": "MCI"}),
        {"PTETHCAT": "Unknown", "PTRACCAT": "Unknown", "PTMARRY": "Unknown", "ABETA_bl": "<200"},
    ),
    5: (12, "LMCI", {"bl": "MCI", "m24": "", "m36": "Dementia"}, {}),
    6: (
        12,
        "LMCI",
        {"bl": "MCI", "m24": "", "m30": "CN"},
        {"PTRACCAT": "Asian", "PTMARRY": "Widowed", "TAU_bl": ">1300"},
    ),
    7: (12, "LMCI", {"bl": "MCI", "m12": "MCI"}, {}),
    8: (12, "CN", {"bl": "CN", "m24": "Dementia"}, {}),
    9: (
        *(12, "EMCI", {"bl": "MCI", "m24": "Dementia"}),
        {"PTRACCAT": "More than one", "PTMARRY": "Never married", "PTAU_bl": "<8"},
    ),
    10: (13, "EMCI", {"bl": "MCI", "m30": "Dementia", "m36": "MCI"}, {}),
    11: (13, "EMCI", {"bl": "MCI", "m24": "MCI"}, {"PTRACCAT": "Am Indian/Alaskan"}),
    12: (14, "LMCI", {"m36": "MCI", "bl": ""}, {"PTRACCAT": "Hawaiian/Other PI", "PTGENDER": ""}),
    13: (14, "", {"bl": "", "m24": "MCI"}, {}),
    14: (9, "LMCI", {"bl": "MCI", "m24": ""}, {}),
    15: (14, "LMCI", {"bl": "", "m24": "MCI", "m36": "Dementia"}, {}),
}


def rows() -> list[dict[str, object]]:
    """One dict of cells per visit; continuous column j of subject RID is j + RID / 100 unless said otherwise."""
    found = []
    for rid, (site, baseline, visits, changes) in SUBJECTS.items():
        values = {name: round(j + rid / 100, 2) for j, name in enumerate(CONTINUOUS, 1)}
        for visit, diagnosis in visits.items():
            month = 0 if visit == "bl" else int(visit[1:])
            date = f"{2006 + month // 12}-{1 + month % 12:02d}-10"
            known = {"RID": rid, "SITE": site, "VISCODE": visit, "EXAMDATE": date, "DX_bl": baseline, "DX": diagnosis}
            # CDRSB of the visit itself, and PTID, are columns that nothing here uses.
            found.append({"PTID": f"0{site}_S_{rid}", **known, "CDRSB": 7, **REFERENCE, **values, **changes})
    cell(found, 3, "bl")["AGE"] = ""  # the age stands in its other rows
    cell(found, 4, "m24")["CDRSB_bl"] = 99  # not what the baseline says
    cell(found, 11, "m24")["SITE"] = 11  # has moved
    return found


def cell(found: list[dict[str, object]], rid: int, visit: str) -> dict[str, object]:
    return next(row for row in found if row["RID"] == rid and row["VISCODE"] == visit)


def write(path: Path, found: list[dict[str, object]], **how: object) -> Path:
    """Write as ADNIMERGE is written: all cells in quotes (unless told otherwise)."""
    pd.DataFrame(found).to_csv(path, index=False, **({"quoting": 1} | how))
    return path
