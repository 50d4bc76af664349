"""What ADNIMERGE.csv looks like, as far as the dementia studies use it: columns, codes, detection limits (paper, MCI study).

One row for each visit of a subject. Everything that reads or writes such a table takes its names from here.
"""

from __future__ import annotations

IDENTIFIERS = ("RID", "SITE", "VISCODE", "EXAMDATE", "DX_bl", "DX")
"""Subject, site, visit, date of the visit, diagnosis at baseline and at the visit."""

DIAGNOSES = ("CN", "MCI", "Dementia")
"""Codes of DX; an empty cell is a diagnosis not made."""
BASELINE_DIAGNOSES = ("CN", "SMC", "EMCI", "LMCI", "AD")
MCI_AT_BASELINE = ("EMCI", "LMCI")
BASELINE_VISIT = "bl"

HORIZON_MONTHS = 24
"""Progressive: a Dementia diagnosis at most this long after baseline."""

CATEGORICAL: dict[str, tuple[str, ...]] = {
    "APOE4": ("0", "1", "2"),
    "PTGENDER": ("Male", "Female"),
    "PTETHCAT": ("Not Hisp/Latino", "Hisp/Latino", "Unknown"),
    "PTRACCAT": (
        *("White", "Asian", "Black", "More than one", "Am Indian/Alaskan"),
        *("Hawaiian/Other PI", "Unknown"),
    ),
    "PTMARRY": ("Married", "Divorced", "Never married", "Widowed", "Unknown"),
}
"""Categorical columns and their codes; the first is the reference level, which like Unknown gets no feature."""
UNKNOWN = "Unknown"

DEMOGRAPHIC = ("PTEDUCAT", "AGE")
"""Continuous columns without a baseline copy: the baseline value stands in all rows of a subject."""
MEASURES = (
    *("CDRSB", "ADAS11", "ADAS13", "ADASQ4", "MMSE", "RAVLT_immediate", "RAVLT_learning", "RAVLT_forgetting"),
    *("RAVLT_perc_forgetting", "TRABSCOR", "FAQ", "mPACCdigit", "mPACCtrailsB", "Ventricles", "Hippocampus"),
    *("WholeBrain", "Entorhinal", "Fusiform", "MidTemp", "ICV", "FDG", "PTAU", "TAU", "ABETA"),
)
"""Continuous columns with a value at each visit; ``<name>_bl`` holds the baseline value."""
BASELINE = tuple(f"{name}_bl" for name in MEASURES)
COLUMNS = (*CATEGORICAL, *DEMOGRAPHIC, *BASELINE)
"""The 31 columns that the features come from."""

DETECTION_LIMITS: dict[str, tuple[str, ...]] = {
    "ABETA": ("<200", ">1700"),
    "TAU": ("<80", ">1300"),
    "PTAU": ("<8", ">120"),
}
"""Values that were beyond what the assay can tell, as they stand in the file; they become the limit."""

LEVEL_NAMES: dict[tuple[str, str], str] = {
    ("APOE4", "1"): "ApoE4 1",
    ("APOE4", "2"): "ApoE4 2",
    ("PTGENDER", "Female"): "Female",
    ("PTETHCAT", "Hisp/Latino"): "Hispanic/Latino",
    ("PTRACCAT", "Asian"): "Race: Asian",
    ("PTRACCAT", "Black"): "Race: Black",
    ("PTRACCAT", "More than one"): "Race: more than one",
    ("PTRACCAT", "Am Indian/Alaskan"): "Race: Am. Indian/Alaskan",
    ("PTRACCAT", "Hawaiian/Other PI"): "Race: Hawaiian/Other PI",
    ("PTMARRY", "Divorced"): "Divorced",
    ("PTMARRY", "Never married"): "Never married",
    ("PTMARRY", "Widowed"): "Widowed",
}
"""Names of the indicator features."""

FEATURE_NAMES: dict[str, str] = {
    "PTEDUCAT": "Years of education",
    "AGE": "Age",
    "CDRSB": "CDR-SB",
    "ADAS11": "ADAS11",
    "ADAS13": "ADAS13",
    "ADASQ4": "ADAS Word Recognition",
    "MMSE": "MMSE",
    "RAVLT_immediate": "RAVLT immediate recall",
    "RAVLT_learning": "RAVLT learning score",
    "RAVLT_forgetting": "RAVLT forgetting score",
    "RAVLT_perc_forgetting": "RAVLT % forgetting",
    "TRABSCOR": "Trails B score",
    "FAQ": "Functional Activities Questionnaire",
    "mPACCdigit": "mPACC with Digit symbol substitution",
    "mPACCtrailsB": "mPACC with Trails B",
    "Ventricles": "Ventricular volume",
    "Hippocampus": "Hippocampal volume",
    "WholeBrain": "Whole brain volume",
    "Entorhinal": "Entorhinal volume",
    "Fusiform": "Fusiform volume",
    "MidTemp": "Mid temporal volume",
    "ICV": "Intracranial volume",
    "FDG": "PET FDG",
    "PTAU": "CSF phosphorylated tau",
    "TAU": "CSF tau",
    "ABETA": "CSF beta-amyloid",
}
"""Continuous columns (without ``_bl``) to the feature names of ``config/univariate_mci.csv``."""
