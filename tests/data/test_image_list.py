"""Lists of images: read with what they say of each, and what cannot be is told by lines, all in one message."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from movie_trees import pixels, put_png

from armed.data.image_list import read_list
from armed.data.image_table import COLUMNS, NO_FRAME
from armed.errors import DataError


@pytest.fixture
def rows(tmp_path):
    """Twelve images of three clusters and two groups; each group has one label."""
    names = [f"images/{i:02d}.png" for i in range(12)]
    for i, name in enumerate(names):
        put_png(tmp_path / name, pixels(i))
    place = np.arange(12)
    return pd.DataFrame(
        {
            "path": names,
            "label": np.where(place % 2, "low", "high"),
            "cluster": np.array(["day1", "day2", "day3"])[place // 4],
            "group": np.where(place % 2, "p", "q"),
        }
    )


@pytest.fixture
def read(tmp_path):
    def read(rows, **given):
        rows.to_csv(tmp_path / "list.csv", index=False)
        return read_list(tmp_path / "list.csv", **given)

    return read


def told(read, rows, **given) -> str:
    with pytest.raises(DataError) as error:
        read(rows, **given)
    return str(error.value)


class TestRead:
    def test_what_it_says(self, read, rows, tmp_path):
        images = read(rows.sample(frac=1, random_state=0))
        assert tuple(images.table) == COLUMNS and images.root == tmp_path
        expected = rows.sort_values(["cluster", "group", "path"])
        for name in ("path", "label", "cluster", "group"):
            assert images.table[name].tolist() == expected[name].tolist()
        assert (images.table["subject"] == images.table["path"]).all() and (images.table["frame"] == NO_FRAME).all()
        assert (images.table["y"] == (images.table["label"] == "low")).all() and not images.has_frames
        assert "each image is a subject by itself" in images.remarks.found[-1][1]

    def test_frames_of_subjects(self, read, rows):
        rows["subject"] = [f"s{i // 4}{'qp'[i % 2]}" for i in range(12)]
        rows["frame"] = [9 - i for i in range(10)] + [30, 20]
        table = read(rows).table
        assert table["frame"][table["subject"] == "s2p"].tolist() == [0, 20]
        assert read(rows).has_frames

    @pytest.mark.parametrize(
        ("values", "positive", "first"),
        [(("0", "1"), None, "0"), (("no", "yes"), None, "no"), (("a", "b"), "a", "b"), (("1", "2"), 1, "2")],
    )
    def test_labels(self, read, rows, values, positive, first):
        rows["label"] = np.where(np.arange(12) % 2, *values[::-1])
        table = read(rows, positive=positive).table
        assert set(table["label"][table["y"] == 0]) == {first}

    def test_groups_of_both_labels_are_told(self, read, rows):
        assert not any(what == "groups" for what, _, _ in read(rows).remarks.found)
        rows.loc[0, "label"] = "low"
        assert ("groups", "with images of both labels, all used: q; a mistake if the label is one of the group", 1) in (
            read(rows).remarks.found
        )

    def test_paths_are_seen_from_the_list(self, read, rows, tmp_path):
        rows.loc[0, "path"] = "./images/../images/00.png"
        assert "images/00.png" in set(read(rows).table["path"])


class TestRefused:
    def test_every_problem_in_one_message(self, read, rows, tmp_path):
        put_png(tmp_path.parent / "outside.png", pixels(1))
        rows.loc[0, "path"] = "../outside.png"
        rows.loc[1, "path"] = str(tmp_path / "images/01.png")
        rows.loc[2, "path"] = "images/2.png"
        rows.loc[3, "path"] = "images\\03.png"
        rows.loc[4, "path"] = "image/04.png"
        rows.loc[6, "path"] = "./images/05.png"
        rows.loc[7, ["path", "group"]] = ""
        rows.loc[8, "label"] = "medium"
        message = told(read, rows)
        for part in (
            "line 2 '../outside.png', line 3 '",
            "images/01.png': the path leads out of the folder of the list",
            "line 4 'images/2.png' (Did you mean '",
            "line 5 'images\\03.png' (write / between folders)",
            "line 6 'image/04.png' (there is no folder",
            "there is no such file",
            "line 7 'images/05.png', line 8 'images/05.png': an image that stands more than once",
            "path column 'path' is empty in 1 of 12 rows: line 9",
            "group column 'group' is empty in 1 of 12 rows: line 9",
            "label column 'label' has 3 values where two are expected",
        ):
            assert part in message, f"{part}\n{message}"

    def test_columns(self, read, rows):
        message = told(read, rows.rename(columns={"path": "paths", "cluster": "batch"}))
        assert "no column 'path'. Did you mean 'paths'" in message and "no column 'cluster'" in message

    def test_labels_that_do_not_say_which_is_class_1(self, read, rows):
        rows["label"] = np.where(np.arange(12) % 2, "good", "bad")
        assert "say which is class 1: positive: good" in told(read, rows)
        assert "has no value 'god'" in told(read, rows, positive="god")

    def test_subjects(self, read, rows):
        rows["subject"] = "one"
        message = told(read, rows)
        assert "1 subject has two labels or more: one" in message and "1 subject has two groups or more: one" in message

    def test_frames(self, read, rows):
        rows["frame"] = "1"
        assert "a column 'frame' and no column 'subject'" in told(read, rows)
        rows["subject"] = [f"s{i // 4}{'qp'[i % 2]}" for i in range(12)]
        rows.loc[3, "frame"] = "1.5"
        message = told(read, rows)
        assert "column 'frame' has line 5 '1.5'; expected whole numbers" in message
        assert "two frames of one number and subject, in line 2 '1', line 4 '1'" in message
