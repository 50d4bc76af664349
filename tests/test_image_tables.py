"""What became of the volumes, and where models look, as tables for readers."""

from __future__ import annotations

import pandas as pd
import pytest

from armed import image_tables
from armed.image_tables import localisation_table, read_volumes, volumes

STUDY = "ad_diagnosis"


def slices() -> pd.DataFrame:
    """Two sites of two subjects of each diagnosis; at the third a subject of its own kind, and files that are lost."""
    rows = []
    for site in ("A", "B"):
        for diagnosis in ("AD", "CN"):
            for k in range(2):
                rows.append((f"{site}{diagnosis}{k}", "1", site, diagnosis, "ok", ""))
    rows += [
        ("AAD0", "2", "A", "AD", "unreadable", "the file is cut off"),
        ("ACN1", "2", "A", "CN", "rejected", "moved head"),
        ("BAD1", "2", "B", "AD", "unregistered", "similarity 0.2"),
        ("C0", "1", "C", "CN", "ok", ""),  # alone
        ("BCN1", "2", "B", "AD", "ok", ""),  # another diagnosis than before
    ]
    frame = pd.DataFrame(rows, columns=["subject", "session", "site", "diagnosis", "status", "reason"])
    return frame.assign(sample_id="sub-" + frame["subject"] + "_ses-" + frame["session"])


def test_every_volume_is_counted_once():
    found = volumes(slices())
    counts = found.counts.set_index("Volumes")
    assert counts.loc["in the table of sessions"].tolist() == [13, 9, 3]
    assert counts.loc["unreadable"].tolist() == [1, 1, 1]
    assert counts.loc["could not be registered", "Sessions"] == counts.loc["rejected by a person", "Sessions"] == 1
    # C0 is alone; BCN1 changes, with both sessions, which leaves BCN0 alone.
    assert counts.loc["left out by the study's rules"].tolist() == [4, 3, 2]
    assert counts.loc["used"].tolist() == [6, 6, 2]
    assert counts["Sessions"].iloc[1:].sum() == counts["Sessions"].iloc[0]


def test_what_is_not_used_is_named_with_its_reason():
    found = volumes(slices())
    told = found.not_used.set_index("Session")
    assert told.loc["sub-AAD0_ses-2", ["What", "Reason"]].tolist() == ["unreadable", "the file is cut off"]
    assert told.loc["sub-BAD1_ses-2", "Reason"] == "similarity 0.2" and len(told) == 3
    assert any("BCN1" in rule and "changes" in rule for rule in found.rules)
    assert any("C CN" in rule and rule.startswith("2 subjects") for rule in found.rules)


def test_a_status_that_is_not_known_is_still_counted():
    odd = slices().replace({"status": {"rejected": "blurred"}})
    assert "blurred" in set(volumes(odd).counts["Volumes"])


def test_volumes_come_from_the_folder_of_slices(tmp_path):
    assert read_volumes(tmp_path) is None
    slices().replace({"site": {"A": "007"}}).to_csv(tmp_path / "slices.tsv", sep="\t", index=False)
    found = read_volumes(tmp_path)
    assert "007" in set(found.not_used["Site"])
    made = image_tables.study_tables(STUDY, {"metrics": metrics(), "summary": summary()}, found)
    assert set(made) == {f"{STUDY}_{name}" for name in ("localisation", "volumes", "volumes_not_used")}


def metrics() -> pd.DataFrame:
    named = {"study": STUDY, "metric": "localisation", "model": "armed"}
    return pd.DataFrame(
        [
            {**named, "partition": "seen", "note": "chance 0.08; HiResCAM"},
            {**named, "partition": "unseen", "note": "none"},
        ]
    )


def summary() -> pd.DataFrame:
    named = {"study": STUDY, "ci_method": "corrected", "metric": "localisation", "variant": "main"}
    cells = [("armed", "seen", 0.2), ("conventional", "seen", 0.1), ("armed", "unseen", 0.3)]
    rows = [
        {**named, "model": m, "partition": p, "mean": v, "ci_low": v - 0.05, "ci_high": v + 0.05} for m, p, v in cells
    ]
    return pd.DataFrame(rows)


def test_localisation_stands_beside_chance():
    chances = image_tables.chance_levels(metrics(), STUDY)
    assert chances == {"seen": pytest.approx(0.08)}
    shown = localisation_table(summary(), chances, STUDY).set_index("Model")
    assert list(shown.index) == ["Conventional", "ARMED", "Chance (the region's share of the brain)"]
    assert shown.loc["ARMED", "Unseen clusters"] == "0.300 [0.250, 0.350]"
    assert shown.iloc[2].tolist() == ["0.080", "–"] and shown.loc["Conventional", "Unseen clusters"] == "–"
    assert localisation_table(summary().iloc[:0], {}, STUDY).empty
