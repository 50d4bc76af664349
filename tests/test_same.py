"""Files and folders of results that hold the same, or not."""

import json
import math

import numpy as np
import pandas as pd
import pytest
import torch

from armed.same import DIFFERENT, IDENTICAL, MISSING, compare_files, compare_folders, digest


def write(path, value):
    """Numbers in the format of the file's suffix."""
    frame = pd.DataFrame({"name": ["a", "b"], "value": [value, 2.0]})
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    elif path.suffix == ".tsv":
        frame.to_csv(path, sep="\t", index=False)
    elif path.suffix == ".npz":
        np.savez(path, value=frame["value"].to_numpy(), name=frame["name"].to_numpy(dtype=str))
    else:
        torch.save({"value": torch.tensor(frame["value"].to_numpy())}, path)
    return path


@pytest.mark.parametrize("suffix", [".parquet", ".tsv", ".npz", ".pt"])
class TestNumbers:
    def test_written_twice(self, tmp_path, suffix):
        (tmp_path / "again").mkdir()
        one, other = (write(folder / f"a{suffix}", 0.5) for folder in (tmp_path, tmp_path / "again"))
        assert compare_files(one, other) == (IDENTICAL, 0.0)

    def test_one_number_changed(self, tmp_path, suffix):
        outcome, largest = compare_files(
            write(tmp_path / f"a{suffix}", 0.5), write(tmp_path / f"b{suffix}", 0.5 + 1e-4)
        )
        assert outcome == DIFFERENT and largest == pytest.approx(1e-4)

    def test_not_a_number(self, tmp_path, suffix):
        found = compare_files(write(tmp_path / f"a{suffix}", 0.5), write(tmp_path / f"b{suffix}", math.nan))
        assert found == (DIFFERENT, math.inf)


def test_other_text_or_another_shape_is_beyond_any_tolerance(tmp_path):
    (tmp_path / "a.tsv").write_text("name\tvalue\na\t1\n")
    (tmp_path / "b.tsv").write_text("name\tvalue\nb\t1\n")
    (tmp_path / "c.tsv").write_text("name\tvalue\na\t1\na\t1\n")
    assert compare_files(tmp_path / "a.tsv", tmp_path / "b.tsv") == (DIFFERENT, math.inf)
    assert compare_files(tmp_path / "a.tsv", tmp_path / "c.tsv") == (DIFFERENT, math.inf)


def test_records_and_reports_apart_from_time_and_machine(tmp_path):
    table = "<p>{}</p><table><caption>Versions</caption><tr><td>{}</td></tr></table>"
    for name, time, said in (("a", 1, "x"), ("b", 2, "x"), ("c", 1, "y")):
        (tmp_path / f"{name}.json").write_text(json.dumps({"wall_seconds": time, "settings": said}))
        (tmp_path / f"{name}.html").write_text(table.format(said, time))
    for suffix in (".json", ".html"):
        a, b, c = (tmp_path / f"{name}{suffix}" for name in "abc")
        assert compare_files(a, b).outcome == IDENTICAL and compare_files(a, c).outcome == DIFFERENT


def test_folders(tmp_path):
    for name in ("one", "other"):
        (tmp_path / name / "logs").mkdir(parents=True)
        (tmp_path / name / "logs" / "fit.log").write_text(name)
        (tmp_path / name / ".hidden").write_text(name)
        (tmp_path / name / "figure.svg").write_text("drawn")
        (tmp_path / name / "figure.png").write_text(name)
    (tmp_path / "one" / "only.tsv").write_text("a\n1\n")
    found = compare_folders(tmp_path / "one", tmp_path / "other").set_index("file")["outcome"]
    assert found.to_dict() == {"figure.png": DIFFERENT, "figure.svg": IDENTICAL, "only.tsv": MISSING}


def test_digest_of_a_folder_follows_names_and_contents(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_text("1")
    before = digest(tmp_path / "a")
    (tmp_path / "a" / ".snakemake_timestamp").write_text("")
    assert digest(tmp_path / "a") == before
    (tmp_path / "a" / "x").rename(tmp_path / "a" / "y")
    assert digest(tmp_path / "a") != before
