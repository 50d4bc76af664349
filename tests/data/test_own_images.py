"""Anyone's own images: read from their list with any kind of label, and every problem told at once."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from movie_trees import SIZE, pixels, put_png
from PIL import Image

from armed.data.own_images import OwnImagesSettings, make
from armed.data.splits import make_splits
from armed.data.study import StudyData
from armed.data_checks import check
from armed.errors import ConfigError, DataError

BLOCK = {"path": "own/list.csv", "kind": "binary", "image_size": SIZE}


@pytest.fixture
def rows(tmp_path):
    """Sixty images of thirty patients, in four hospitals."""
    names = [f"images/{i:02d}.png" for i in range(60)]
    for i, name in enumerate(names):
        put_png(tmp_path / name, pixels(i))
    patient = np.arange(60) // 2
    return pd.DataFrame(
        {
            "path": names,
            "label": np.where(patient % 3 == 0, "yes", "no"),
            "cluster": np.array(["north", "south", "east", "west"])[patient % 4],
            "group": [f"patient{p}" for p in patient],
            "grade": np.array(["a", "b", "c"])[patient % 3],
            "size": patient * 1.5,
        }
    )


@pytest.fixture
def read(tmp_path):
    def read(rows, **block):
        rows.to_csv(tmp_path / "list.csv", index=False)
        return make(BLOCK | block, "mine", [0], [tmp_path / "list.csv"])

    return read


def told(read, rows, **block) -> str:
    with pytest.raises((DataError, ConfigError)) as error:
        read(rows, **block)
    return str(error.value)


class TestRead:
    def test_images_and_what_the_list_says(self, read, rows, tmp_path):
        data = read(rows, unseen=["west"], title="Mine")
        seen, unseen = data.part("seen"), data.part("unseen")
        assert seen.X.shape[1:] == (1, SIZE, SIZE) and seen.X.dtype == np.uint8 and len(seen) + len(unseen) == 60
        assert set(unseen.clusters) == {"west"} and "west" not in seen.levels
        by_path = rows.set_index("path")
        for part in (seen, unseen):
            of = by_path.loc[part.sample_id]
            np.testing.assert_array_equal(part.y, of["label"] == "yes")
            np.testing.assert_array_equal(part.subject, of["group"])
            for image, name in zip(part.X, part.sample_id, strict=True):
                with Image.open(tmp_path / name) as file:
                    np.testing.assert_array_equal(image[0], np.asarray(file))
        assert data.truth.set_index("cluster").loc["west", ["part", "n"]].tolist() == [
            "unseen",
            int((rows["cluster"] == "west").sum()),
        ]
        assert data.samples == {}, "patients are subjects; folds are not stratified by them"

    def test_from_file_to_folds(self, read, rows, tmp_path):
        data = read(rows)
        data.save(tmp_path / "mine.npz")
        loaded = StudyData.load(tmp_path / "mine.npz")
        seen = loaded.part("seen")
        np.testing.assert_array_equal(seen.X, data.part("seen").X)
        for fold in make_splits(seen, [0], 3, "mine", validation_fraction=0.2):
            of = [set(seen.subject[part]) for part in (fold.train, fold.validation, fold.test)]
            assert not of[0] & of[1] | of[0] & of[2] | of[1] & of[2]
        assert check(loaded, "mine", source="own").sections

    @pytest.mark.parametrize(
        ("kind", "label", "dtype"), [("multiclass", "grade", np.int64), ("continuous", "size", np.float64)]
    )
    def test_other_kinds_of_label(self, read, rows, kind, label, dtype):
        y = read(rows, kind=kind, label=label).part("seen").y
        assert y.dtype == dtype and len(np.unique(y)) == rows[label].nunique()

    def test_other_names_of_columns_and_no_group(self, read, rows):
        renamed = rows.rename(columns={"path": "file", "cluster": "site"}).drop(columns="group")
        seen = read(renamed, image="file", cluster="site", group=None, unseen=1).part("seen")
        assert len(np.unique(seen.subject)) == len(seen)

    def test_small_clusters_are_left_out_with_their_images(self, read, rows, tmp_path):
        rows.loc[59, "cluster"] = "far"
        (tmp_path / "images/59.png").write_bytes(b"x")
        data = read(rows, min_cluster_size=2)
        assert len(data.part("seen")) == 59 and "clusters" in data.remarks["what"].tolist()

    def test_groups_of_several_labels_are_told(self, read, rows):
        rows.loc[0, "label"] = "no"
        remarks = read(rows).remarks.set_index("what")
        assert "several labels, all used: patient0; a mistake if" in remarks.loc["groups", "reason"]


class TestRefused:
    def test_every_problem_in_one_message(self, read, rows, tmp_path):
        put_png(tmp_path / "images/10.png", pixels(0, 20))
        Image.fromarray(np.stack([pixels(0)] * 3, axis=-1)).save(tmp_path / "images/11.png")
        whole = (tmp_path / "images/12.png").read_bytes()
        (tmp_path / "images/12.png").write_bytes(whole[:-20])
        rows.loc[0, "path"] = "/etc/hostname"
        rows.loc[1, "path"] = "images/1.png"
        rows.loc[2, "label"] = "perhaps"
        rows.loc[3, "group"] = ""
        rows.loc[4, "cluster"] = ""
        message = told(read, rows, unseen=["wets"])
        for part in (
            "(study mine)",
            "images/10.png (20 x 20): the image is not of the expected 16 x 16 pixels; studies.mine.data.image_size sets",
            "images/11.png (8 bit, RGB colour): the image is not grey with 8 bits",
            "images/12.png (",
            "the file is cut short",
            "line 2 '/etc/hostname': the path leads out of the folder",
            "line 3 'images/1.png' (Did you mean '",
            "label column 'label' has 3 values",
            "subject column 'group' is empty in 1 of 60 rows: line 5",
            "cluster column 'cluster' is empty in 1 of 60 rows: line 6",
            "unseen names the cluster 'wets', of which no row is used. Did you mean 'west'?",
        ):
            assert part in message, f"{part}\n{message}"

    def test_columns(self, read, rows):
        message = told(read, rows.rename(columns={"path": "paths", "label": "labels", "group": "groups"}))
        assert all(f"no column '{name}'. Did you mean '{name}s'" in message for name in ("path", "label", "group"))

    @pytest.mark.parametrize(
        ("block", "part"),
        [
            ({"image_sise": 3}, "unknown key 'image_sise'. Did you mean 'image_size'?"),
            ({"image_size": None}, "'image_size' is missing"),
            ({"image_size": 3}, "image_size is 3; expected a whole number of pixels, at least 16"),
            ({"kind": "binery"}, "Did you mean 'binary'"),
            ({"kind": "continuous", "positive": 1}, "only a binary label has a positive value"),
            ({"label": "path"}, "column path has several uses"),
            ({"cluster": "group", "group": 3}, "group is 3"),
            ({"unseen": "west"}, "unseen is 'west'; expected a list"),
            ({"min_cluster_size": 0}, "min_cluster_size is 0"),
        ],
    )
    def test_settings(self, block, part):
        with pytest.raises(ConfigError) as error:
            OwnImagesSettings.from_block(BLOCK | block, "mine")
        assert "studies.mine.data" in str(error.value) and part in str(error.value)

    def test_cluster_and_group_may_be_one_column(self, read, rows):
        data = read(rows, group="cluster")
        assert (data.part("seen").subject == data.part("seen").clusters).all()
