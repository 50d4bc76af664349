"""The live-cell study made from a folder of frames: parts that are views, groups for the folds, and what is known of dates."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from movie_trees import SIZE, Tree

from armed.data.live_cell import make, read_frames
from armed.data.study import StudyData
from armed.data_checks import check
from armed.errors import DataError
from armed.jobs.data import read_splits, split
from armed.jobs.frames import collect_frames


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("live_cell")
    settings = {"image_size": SIZE, "seen": "shared", "seen_step": 1, "unseen_step": 2}
    collect_frames(settings, Tree(place / "movies").fill(cells=10).tell().root, place / "frames")
    return place / "frames"


@pytest.fixture(scope="module")
def data(folder):
    return make({}, "live_cell", [0], [folder])


def test_parts(data, folder):
    frames, images, _ = read_frames(folder)
    seen, unseen = data.part("seen"), data.part("unseen")
    assert seen.X.shape == (180, 1, SIZE, SIZE) and unseen.X.shape == (40, 1, SIZE, SIZE)
    assert isinstance(seen.X.base, np.memmap) or isinstance(seen.X, np.memmap), "mapped, not in memory"
    np.testing.assert_array_equal(np.concatenate([seen.X, unseen.X])[:, 0], images)
    np.testing.assert_array_equal(seen.y, frames["label"][:180])
    assert set(seen.levels) == {"20200101", "20200102", "20200103"} and not {*seen.levels} & {*unseen.levels}
    assert seen.subject[0] == "A/20200101/cell0" and len(np.unique(seen.subject)) == 60


def test_samples_and_truth(data):
    samples = data.samples["main"]["seen"]
    assert list(samples) == ["group", "frame", "phenotype"]
    assert (samples["group"] == [subject.split("/")[0] for subject in data.part("seen").subject]).all()
    truth = data.truth.set_index("cluster")
    assert truth.loc["20200103", ["part", "n", "ratio", "cells", "groups"]].tolist() == ["seen", 60, 0.5, 20, "A; D"]
    assert truth.loc["20200202", ["part", "n", "ratio", "cells", "groups"]].tolist() == ["unseen", 20, 1.0, 10, "C"]
    assert "unseen dates" in data.remarks["what"].tolist()


def test_from_file_to_folds(data, tmp_path):
    data.save(tmp_path / "data.npz")
    loaded = StudyData.load(tmp_path / "data.npz")
    pd.testing.assert_frame_equal(loaded.samples["main"]["unseen"], data.samples["main"]["unseen"])
    np.testing.assert_array_equal(loaded.part("seen").X, data.part("seen").X)
    settings = {"study": "live_cell", "seeds": [0, 1], "folds": 1, "test_fraction": 0.2, "validation_fraction": 0.125}
    split(settings, tmp_path / "data.npz", tmp_path / "splits.parquet")
    seen, group = data.part("seen"), data.samples["main"]["seen"]["group"].to_numpy()
    for fold in read_splits(tmp_path / "splits.parquet", "main"):
        cells = [set(seen.subject[rows]) for rows in (fold.train, fold.validation, fold.test)]
        assert [len(of) for of in cells] == [42, 6, 12], "70/10/20 by cell, and no cell crosses"
        tested = pd.Series(group[fold.test] + seen.clusters[fold.test]).value_counts()
        assert len(tested) == 6 and (tested == 6).all(), "two cells of three frames of each PDX and date"


def test_data_check_tells_what_is_confounded(data):
    found = check(data, "live_cell", source="stand-in")
    titles = [section.title for section in found.sections]
    assert "Groups" in titles and "Grey levels of images" in titles
    table = next(s.table for s in found.sections if s.title == "Groups").set_index("Group")
    assert table.loc["A", ["Subjects", "Seen clusters", "Unseen clusters"]].tolist() == [20, 2, 0]
    clusters = next(s.table for s in found.sections if s.title == "Clusters").set_index("Cluster")
    assert clusters.loc["20200102", "Groups"] == "B, D" and clusters.loc["20200202", "Groups"] == "C"
    warnings = " ".join(found.warnings)
    assert "All samples of a group have one label: it is known of 4 groups" in warnings
    assert (
        "2 of 4 seen groups are in one seen cluster only" in warnings
        and "apart by other groups alone: B, C." in warnings
    )
    assert "in unseen clusters only" not in warnings and "very image of another" not in warnings


def test_data_check_of_groups_and_clusters_that_are_one(data):

    samples = {"main": {p: pd.DataFrame({"group": data.part(p).clusters}) for p in ("seen", "unseen")}}
    warnings = " ".join(check(StudyData(data.parts, data.truth, samples=samples), "live_cell").warnings)
    assert "3 of 3 seen clusters hold one group only" in warnings
    assert "2 of 5 groups are in unseen clusters only: 20200201, 20200202" in warnings
    assert "have one label" not in warnings, "seen dates have both"


class TestRefused:
    def copy(self, folder, tmp_path):
        for name in ("frames.tsv", "remarks.tsv", "images.npy"):
            (tmp_path / name).write_bytes((folder / name).read_bytes())
        return tmp_path

    def test_files_that_do_not_fit_together(self, folder, tmp_path):
        copy = self.copy(folder, tmp_path)
        table = pd.read_csv(copy / "frames.tsv", sep="\t", dtype=str)
        for changed in (table[::-1], table[1:], table.assign(seen="1"), table.assign(row="x")):
            changed.to_csv(copy / "frames.tsv", sep="\t", index=False)
            with pytest.raises(DataError, match="do not fit together; make it again"):
                read_frames(copy)
        table.drop(columns=["group", "seen"]).to_csv(copy / "frames.tsv", sep="\t", index=False)
        np.save(copy / "images.npy", np.zeros((3, 4, 5), np.uint8))
        with pytest.raises(
            DataError, match=r"no column group, seen(.|\n)*images\.npy holds uint8 of shape \(3, 4, 5\)"
        ):
            read_frames(copy)

    def test_no_folder_of_frames(self, tmp_path):
        with pytest.raises(DataError, match="is no folder of frames"):
            make({}, "live_cell", [0], [tmp_path])
        with pytest.raises(DataError, match="one folder of frames, but 2 were given"):
            make({}, "live_cell", [0], [tmp_path, tmp_path])
