"""Lays the stand-in's subjects out as visits: a table with ADNIMERGE's columns, codes and quirks; see `adni_model`.

The generator is frozen before any model is fitted to its output. What follows is not published, and taken as plausible:

- Visits: bl, m03 (not in ADNI1, never with a diagnosis), m06, m12, m18 (ADNI1 only), m24, and yearly to m60; 8% of
  those after baseline are missing, and 6% of the diagnoses at visits that took place.
- A stable subject has a diagnosis at month 24 (88%), or that visit or its diagnosis is missing and the one of m36 is not.
- 8% of the stable become CN again and stay so; 5% of the progressive are MCI again after their first Dementia diagnosis.
- On top of the subjects with a label each site has, per such subject, 0.12 with MCI and none (lost before month 24, or
  without a diagnosis from then on; every sixth not diagnosed at month 24 and demented at m36) and 0.8 without MCI: CN and SMC
  (55%) and AD. Their features are those of the model at y = -0.8 and y = 1.8, but for a few with AD whose TAU and PTAU are
  beyond what the assay can tell: the linear scale puts no MCI subject there.
- Missing at baseline, whatever the label: FDG and CSF a third (varying by site, s.d. 0.5 in log odds), MRI 8%, its regions
  8% more, tests 0.4 to 3%, APOE4 1%. Follow-up visits lack FDG and CSF mostly.
- At later visits a measure is its baseline value, a slow change in the direction of disease, and noise.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from armed.data import adni_format as fmt
from armed.data.adni_model import COLUMNS, RATE, UNITS, in_units
from armed.data.adni_standin import N_SEEN, N_UNSEEN, Truth, draw_subjects, latent, levels, stream
from armed.files import atomic

TABLE_FILE, TRUTH_FILE = "ADNIMERGE.csv", "truth.json"

GRID = np.array([0, 3, 6, 12, 18, 24, 36, 48, 60])
"""Months of the visits."""
AT = {int(month): k for k, month in enumerate(GRID)}
CN, MCI, DEMENTIA = range(3)  # places in fmt.DIAGNOSES

PROTOCOLS = ("ADNI1", "ADNIGO", "ADNI2", "ADNI3")
FIRST_DAYS = np.array(["2005-09-07", "2010-06-01", "2011-07-01", "2016-10-15"], dtype="datetime64[D]")
ENROLMENT_DAYS = np.array([800, 380, 850, 700])
PROTOCOL_STARTS = np.array(["2005-09-01", "2009-10-01", "2011-04-01", "2016-09-01"], dtype="datetime64[D]")
DAYS_PER_MONTH = 30.4375

WITHOUT_LABEL, WITHOUT_MCI = 0.12, 0.8
MISSING_VISIT, MISSING_DX = 0.08, 0.06
REVERT_CN, REVERT_MCI = 0.08, 0.05

CSF = ("PTAU", "TAU", "ABETA")
REGIONS = ("Hippocampus", "Entorhinal", "Fusiform", "MidTemp")
MRI = ("Ventricles", "WholeBrain", "ICV", *REGIONS)
MISSING_TESTS = {"TRABSCOR": 0.03, "FAQ": 0.01, "ADAS13": 0.01, "RAVLT_forgetting": 0.01, "RAVLT_perc_forgetting": 0.01}
FEW_MISSING = 0.004
WHOLE = tuple(name for name in fmt.MEASURES if UNITS[name][2] == 1)
"""Measures that are whole numbers in the file."""


def visit_table(
    seed: int, *, scale: float = 1.0, n_seen: int = N_SEEN, n_unseen: int = N_UNSEEN
) -> tuple[pd.DataFrame, Truth]:
    """Draw the table of visits.

    Parameters
    ----------
    seed, scale, n_seen, n_unseen
        As `adni_standin.draw_subjects`, whose subjects are those of this table (by RID) with a label.

    Returns
    -------
    visits : DataFrame, one row per visit, by RID and month
        ADNIMERGE's columns. Codes, dates and the columns with detection limits (``"312.4"``, ``">1300"``) are text, all
        others numbers; a missing cell is NaN.
    truth : Truth

    Raises
    ------
    DataError
        As `draw_subjects`.
    """
    labelled, truth = draw_subjects(seed, scale=scale, n_seen=n_seen, n_unseen=n_unseen)
    rng = stream("visits", seed)
    subjects = _everyone(rng, labelled, truth)
    state, present, known = _diagnoses(rng, subjects)
    i, t = np.nonzero(present)
    columns = _of_subjects(rng, subjects, i) | _of_visits(rng, subjects, i, t)
    columns["DX"] = np.where(known, np.array(fmt.DIAGNOSES, dtype=object)[state], np.nan)[i, t]
    columns |= _measures(rng, truth, subjects, state, i, t)
    order = (
        "RID",
        "PTID",
        "VISCODE",
        "SITE",
        "COLPROT",
        "ORIGPROT",
        "EXAMDATE",
        "DX_bl",
        "AGE",
        "PTGENDER",
        "PTEDUCAT",
    )
    order = (*order, "PTETHCAT", "PTRACCAT", "PTMARRY", "APOE4", *fmt.MEASURES, "DX", "EXAMDATE_bl", *fmt.BASELINE)
    order = (*order, "Years_bl", "Month_bl", "Month", "M", "update_stamp")
    return pd.DataFrame({name: columns[name] for name in order}), truth


def write_stand_in(
    folder: str | Path, seed: int, *, scale: float = 1.0, n_seen: int = N_SEEN, n_unseen: int = N_UNSEEN
) -> None:
    """Write ``truth.json`` and ``ADNIMERGE.csv``; each appears only when complete, the table last.

    Parameters
    ----------
    folder : path
        Made where it is not there.
    seed, scale, n_seen, n_unseen
        As `visit_table`.
    """
    visits, truth = visit_table(seed, scale=scale, n_seen=n_seen, n_unseen=n_unseen)
    whole = [*WHOLE, *(f"{name}_bl" for name in WHOLE), "PTEDUCAT"]
    visits = visits.astype(dict.fromkeys(whole, "Int64"))  # whole numbers beside missing cells, without ".0"
    truth.save(Path(folder) / TRUTH_FILE)
    with atomic(Path(folder) / TABLE_FILE) as temporary:
        visits.to_csv(temporary, index=False)


def _everyone(rng: np.random.Generator, labelled: pd.DataFrame, truth: Truth) -> pd.DataFrame:
    """Those with a label, MCI subjects without one (`kind` lost, late) and those without MCI (healthy, AD), by RID."""
    size = truth.sites["size"].to_numpy()
    sites = [np.repeat(truth.sites.index, rng.poisson(share * size)) for share in (WITHOUT_LABEL, WITHOUT_MCI)]
    kinds = [
        rng.choice(["lost", "late"], len(sites[0]), p=[5 / 6, 1 / 6]),
        rng.choice(["healthy", "AD"], len(sites[1]), p=[0.55, 0.45]),
    ]
    others = pd.DataFrame({"SITE": np.concatenate(sites), "kind": np.concatenate(kinds)})
    y = (rng.uniform(size=len(others)) < RATE).astype(float)
    y[others["kind"] == "healthy"] = -0.8
    y[others["kind"] == "AD"] = 1.8
    where = others["SITE"].to_numpy()
    x = pd.DataFrame(latent(rng, truth, where, y), columns=list(COLUMNS))
    high = rng.uniform(size=len(others)) < 0.06
    for name in ("TAU", "PTAU"):  # beyond what the assay can tell
        x.loc[high & (others["kind"] == "AD"), name] += 10.0
    others = pd.concat(
        [others, levels(rng, truth, where, y), pd.DataFrame(in_units(x.to_numpy()), columns=x.columns)], axis=1
    )
    free = np.setdiff1d(np.arange(2, 5 * len(labelled) + 2 + len(others)), labelled.index)
    others.index = pd.Index(rng.choice(free, len(others), replace=False), name="RID")
    others["conversion_month"] = np.where(others["kind"] == "late", 36.0, np.nan)
    found = pd.concat([labelled.assign(kind="labelled").drop(columns="seen"), others]).sort_index()
    found["protocol"] = _protocols(rng, found)
    return found


def _protocols(rng: np.random.Generator, subjects: pd.DataFrame) -> np.ndarray:
    """Place in `PROTOCOLS`; only ADNI1 has the visit m18."""
    drawn = rng.choice(len(PROTOCOLS), len(subjects), p=[0.45, 0.12, 0.33, 0.10])
    return np.where(subjects["conversion_month"] == 18, 0, drawn)


def _diagnoses(rng: np.random.Generator, subjects: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """State at each month of the grid, whether there is a visit, and whether it has a diagnosis; shape (n, 9) each."""
    n, kind = len(subjects), subjects["kind"].to_numpy()
    progressive = (subjects["label"] == 1).to_numpy()
    stable = (subjects["label"] == 0).to_numpy()
    converts = subjects["conversion_month"].fillna(np.inf).to_numpy()
    state = _states(rng, kind, converts, progressive, stable)
    offered = np.ones((n, len(GRID)), dtype=bool)
    first = subjects["protocol"].to_numpy() == 0
    offered[first, AT[3]] = False
    offered[~first, AT[18]] = False
    last = rng.choice([24, 36, 48, 60], n, p=[0.2, 0.3, 0.3, 0.2])
    last = np.where(kind == "lost", rng.choice([0, 6, 12, 24], n, p=[0.25, 0.3, 0.3, 0.15]), last)
    # The visits that make the label stay: the first Dementia; month 24, or where it is missing month 36.
    gap = (stable & ~(converts <= 36) & (rng.uniform(size=n) < 0.12)) | (kind == "late")
    kept = np.zeros((n, len(GRID)), dtype=bool)
    kept[:, 0] = True
    kept |= progressive[:, None] & (converts[:, None] == GRID)
    kept[:, AT[24]] |= stable & ~gap
    kept[:, AT[36]] |= gap
    last = np.where(stable | progressive | gap, np.maximum(last, np.where(kept, GRID, 0).max(axis=1)), last)
    absent = rng.uniform(size=state.shape) < MISSING_VISIT
    absent[:, AT[24]] |= gap & (rng.uniform(size=n) < 0.5)
    present = kept | (offered & ~absent & (last[:, None] >= GRID))
    known = present & (kept | (rng.uniform(size=state.shape) >= MISSING_DX))
    known[:, AT[3]] = False
    known[gap, AT[24]] = False
    known[np.ix_(kind == "lost", fmt.HORIZON_MONTHS <= GRID)] = False
    return state, present, known


def _states(
    rng: np.random.Generator, kind: np.ndarray, converts: np.ndarray, progressive: np.ndarray, stable: np.ndarray
) -> np.ndarray:
    n = len(kind)
    state = np.where(converts[:, None] <= GRID, DEMENTIA, MCI)
    back = progressive & (rng.uniform(size=n) < REVERT_MCI)
    state[back[:, None] & (converts[:, None] < GRID)] = MCI
    since = rng.choice([6, 12, 24, 36], n)
    recovers = stable & np.isinf(converts) & (rng.uniform(size=n) < REVERT_CN)
    state[recovers[:, None] & (since[:, None] <= GRID)] = CN
    healthy = kind == "healthy"
    declines = healthy & (rng.uniform(size=n) < 0.1)
    state[healthy] = CN
    state[declines[:, None] & (since[:, None] <= GRID)] = MCI
    state[kind == "AD"] = DEMENTIA
    return state


def _of_subjects(rng: np.random.Generator, subjects: pd.DataFrame, i: np.ndarray) -> dict[str, np.ndarray]:
    """Columns that are the same in all rows of a subject."""
    n, kind = len(subjects), subjects["kind"].to_numpy()
    site, protocol = subjects["SITE"].to_numpy(), subjects["protocol"].to_numpy()
    rid = pd.Series(subjects.index)
    ptid = pd.Series(site).astype(str).str.zfill(3) + "_S_" + rid.astype(str).str.zfill(4)
    early = (protocol > 0) & (rng.uniform(size=n) < 0.6)  # EMCI came with ADNIGO, SMC with ADNI2
    concerned = (protocol > 1) & (rng.uniform(size=n) < 0.3)
    baseline = np.where(early, "EMCI", "LMCI").astype(object)
    baseline[kind == "AD"] = "AD"
    baseline[kind == "healthy"] = np.where(concerned, "SMC", "CN")[kind == "healthy"]
    apoe4 = subjects["APOE4"].to_numpy(dtype=object, copy=True)
    apoe4[rng.uniform(size=n) < 0.01] = np.nan
    found = {
        "RID": rid.to_numpy(),
        "PTID": ptid.to_numpy(dtype=object),
        "SITE": site,
        "DX_bl": baseline,
        "APOE4": apoe4,
    }
    found["ORIGPROT"] = np.array(PROTOCOLS, dtype=object)[protocol]
    for name in ("PTGENDER", "PTETHCAT", "PTRACCAT", "PTMARRY", *fmt.DEMOGRAPHIC):
        found[name] = subjects[name].to_numpy()
    return {name: values[i] for name, values in found.items()}


def _of_visits(rng: np.random.Generator, subjects: pd.DataFrame, i: np.ndarray, t: np.ndarray) -> dict[str, np.ndarray]:
    """Codes and dates of the visits; dates keep the order of the visits."""
    protocol = subjects["protocol"].to_numpy()
    start = FIRST_DAYS[protocol] + (rng.uniform(size=len(subjects)) * ENROLMENT_DAYS[protocol]).astype("timedelta64[D]")
    late = np.clip(rng.normal(5, 14, len(t)), -30, 40) * (t > 0)  # visits are at least 91 days apart
    days = np.round(GRID[t] * DAYS_PER_MONTH + late).astype(np.int64)
    dates = start[i] + days.astype("timedelta64[D]")
    current = np.maximum(np.searchsorted(PROTOCOL_STARTS, dates, side="right") - 1, protocol[i])
    codes = np.array([fmt.BASELINE_VISIT, *(f"m{month:02d}" for month in GRID[1:])], dtype=object)
    return {
        "VISCODE": codes[t],
        "EXAMDATE": dates.astype(str).astype(object),
        "EXAMDATE_bl": start.astype(str).astype(object)[i],
        "COLPROT": np.array(PROTOCOLS, dtype=object)[current],
        "M": GRID[t],
        "Month": np.where(GRID[t] == 3, 3, np.round(days / DAYS_PER_MONTH / 6) * 6).astype(np.int64),
        "Month_bl": np.round(days / DAYS_PER_MONTH, 5),
        "Years_bl": np.round(days / 365.25, 6),
        "update_stamp": np.full(len(t), "2023-01-03 04:53:49.0", dtype=object),
    }


def _measures(
    rng: np.random.Generator, truth: Truth, subjects: pd.DataFrame, state: np.ndarray, i: np.ndarray, t: np.ndarray
) -> dict[str, np.ndarray]:
    """The measures at each visit and their baseline copies."""
    baseline = subjects[list(fmt.MEASURES)].to_numpy(dtype=float)
    missing = _missing_at_baseline(rng, truth, subjects["SITE"].to_numpy())
    places = [COLUMNS.index(name) for name in fmt.MEASURES]
    mean, sd = np.array([UNITS[name][:2] for name in COLUMNS]).T
    coef = truth.features["coef"].to_numpy()[places]
    later = t > 0
    # Per year, 0.1 s.d. in the direction of disease at the strongest effects, three times as fast in dementia.
    pace = GRID[t[later]] / 12 * np.where(state[i, t] == DEMENTIA, 0.3, 0.1)[later]
    noise = np.array([0.0 if name == "ICV" else 0.1 if name in (*MRI, *CSF, "FDG") else 0.35 for name in fmt.MEASURES])
    x = np.zeros((int(later.sum()), len(COLUMNS)))
    x[:, places] = ((baseline - mean[places]) / sd[places])[i[later]] + noise * rng.standard_normal(
        (len(x), len(noise))
    )
    x[:, places] += pace[:, None] * np.clip(coef, -1.0, 1.0) * (noise > 0)
    values = baseline[i]
    values[later] = in_units(x)[:, places]
    gone = missing[i]
    gone[later] = _missing_later(rng, t[later])
    values[gone] = np.nan
    start = np.where(missing, np.nan, baseline)
    found = {}
    for k, name in enumerate(fmt.MEASURES):
        limited = name in fmt.DETECTION_LIMITS
        found[name] = _with_limits(values[:, k], name) if limited else values[:, k]
        found[f"{name}_bl"] = (_with_limits(start[:, k], name) if limited else start[:, k])[i]
    return found


def _missing_at_baseline(rng: np.random.Generator, truth: Truth, site: np.ndarray) -> np.ndarray:
    n, where = len(site), truth.sites.index.get_indexer(site)
    found = pd.DataFrame({name: rng.uniform(size=n) < MISSING_TESTS.get(name, FEW_MISSING) for name in fmt.MEASURES})
    for names in (("FDG",), CSF):
        log_odds = np.log(0.33 / 0.67) + rng.normal(0.0, 0.5, len(truth.sites))
        found.loc[rng.uniform(size=n) < (1 / (1 + np.exp(-log_odds)))[where], list(names)] = True
    found.loc[rng.uniform(size=n) < 0.08, list(MRI)] = True
    found.loc[rng.uniform(size=n) < 0.08, list(REGIONS)] = True
    return found.to_numpy()


def _missing_later(rng: np.random.Generator, t: np.ndarray) -> np.ndarray:
    n = len(t)
    short = GRID[t] == 3  # a visit for the scan alone
    found = np.zeros((n, len(fmt.MEASURES)), dtype=bool)
    for names, share in (({"FDG"}, 0.75), (set(CSF), 0.85), (set(MRI), 0.3)):
        together = rng.uniform(size=n) < share
        found |= together[:, None] & np.isin(fmt.MEASURES, list(names))
    tests = ~np.isin(fmt.MEASURES, [*MRI, *CSF, "FDG"])
    found |= tests & (rng.uniform(size=n) < 0.04)[:, None]
    found |= ~np.isin(fmt.MEASURES, MRI) & short[:, None]
    return found | (rng.uniform(size=found.shape) < 0.01)


def _with_limits(values: np.ndarray, name: str) -> np.ndarray:
    """Numbers as text, those at a limit of the assay as ``"<80"``, ``">1300"``; NaN where missing."""
    below, above = fmt.DETECTION_LIMITS[name]
    text = np.full(len(values), np.nan, dtype=object)
    there = ~np.isnan(values)
    text[there] = values[there].astype(str)
    text[values <= float(below[1:])] = below
    text[values >= float(above[1:])] = above
    return text
