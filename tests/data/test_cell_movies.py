"""Trees of movies: every frame is found, and every name that cannot be is told with its path, all in one message."""

from __future__ import annotations

import pytest
from movie_trees import Tree, pixels, put_png

from armed.data.cell_movies import read_tree
from armed.data.image_table import COLUMNS
from armed.errors import DataError


@pytest.fixture
def tree(tmp_path):
    return Tree(tmp_path / "movies")


def told(tree) -> str:
    with pytest.raises(DataError) as error:
        read_tree(tree.root)
    return str(error.value)


class TestRead:
    def test_every_frame_with_what_its_path_says(self, tree):
        table = read_tree(tree.fill().root).table
        assert tuple(table) == COLUMNS and len(table) == 8 * 2 * 3
        row = table.set_index("sample_id").loc["C/20200101/cell1/0002"]
        assert row[["label", "y", "cluster", "group", "subject", "frame"]].tolist() == [
            *("low", 1, "20200101", "C", "C/20200101/cell1", 2)
        ]
        assert (tree.root / row["path"]).is_file() and row["path"] == "low/C/20200101_A_C/cell1/2.png"
        assert table["sample_id"].is_unique and (table["y"] == (table["label"] == "low")).all()

    @pytest.mark.parametrize("name", ["{}.png", "frame_{:04d}.png", "t{}.PNG", "a1b2_{:03d}.png"])
    def test_frames_are_in_the_order_of_their_numbers(self, tree, name):
        tree.fill().add("high", "A", "20200105_A", "c", (100, 2, 30, 9), name)
        table = read_tree(tree.root).table
        assert table["frame"][table["subject"] == "A/20200105/c"].tolist() == [2, 9, 30, 100]

    def test_names_of_pdx_may_have_underscores(self, tree):
        tree.fill().add("low", "UT_10", "210131_A_UT_10", "c")
        images = read_tree(tree.root)
        assert "UT_10/210131/c/0000" in set(images.table["sample_id"])
        # A is named on that date, and has no cell of it.
        assert [told for _, told, _ in images.remarks.found] == [
            "210131: its folders name A_UT_10, and there are cells of UT_10 only, which count"
        ]

    def test_what_systems_leave_behind_is_nothing_and_other_files_are_told(self, tree):
        cell = tree.fill().add("high", "A", "20200105_A", "c")
        for name in (".DS_Store", "Thumbs.db"):
            (cell / name).write_text("x")
        (tree.root / ".git").mkdir()
        (tree.root / "low" / "notes.txt").write_text("x")
        images = read_tree(tree.root)
        assert len(images.table) == 51
        assert images.remarks.found == [("files", "outside of the folders of cells, not looked at: low/notes.txt", 1)]

    def test_truth_of_a_stand_in(self, tree):
        images = read_tree(tree.fill().tell().root)
        assert images.is_stand_in and images.phenotypes["A/20200101/cell1"] == 0.1
        assert set(images.phenotypes) == set(images.table["subject"])
        (tree.root / "truth.json").write_text('{"cells": {"A/20200101/cell1": 3}}')
        assert "truth.json is no truth of a stand-in (TypeError" in told(tree)
        (tree.root / "truth.json").unlink()
        assert read_tree(tree.root).phenotypes is None


class TestRefused:
    def test_every_kind_in_one_message_with_its_paths(self, tree):
        tree.fill()
        tree.add("Low", "E", "20200101_E", "c")
        tree.add("high", "C", "20200303_C", "c")
        tree.add("high", "A", "2020-01-07_A", "c")
        tree.add("high", "A", "20200107", "c")
        tree.add("high", "A", "20200108_B_D", "c")
        tree.add("high", "A", "20200101_A", "c")
        tree.add("low", "D", "20200109_D", "empty", frames=())
        tree.add("low", "D", "20200109_D", "text", frames=("first", "12b", "1" * 16))
        tree.add("low", "D", "20200109_D", "twice", frames=("1", "01", "frame_001"))
        put_png(tree.root / "low/D/20200109_D/stray.png", pixels(1))
        put_png(tree.root / "low/D/stray.png", pixels(1))
        (tree.root / "low/D/20200109_D/twice/a.tif").write_text("x")
        (tree.root / "low/D/20200109_D/twice/inner").mkdir()
        (tree.root / "low/D/20200110_D").mkdir()
        (tree.root / "low/F").mkdir()
        message = told(tree)
        for part in (
            "Low (Did you mean 'low'?): no class; the folders of",
            "PDX C is in 2 classes: high/C, low/C",
            "high/A/2020-01-07_A, high/A/20200107: the name of the folder is not <date>_<pdxs>",
            "high/A/20200108_B_D: the PDX named after the date do not include the PDX",
            "high/A/20200101_A_C (beside 20200101_A): a second folder of this PDX and date",
            "low/D/20200109_D/empty/: the folder of a cell is empty",
            f"low/D/20200109_D/text/{'1' * 16}.png, low/D/20200109_D/text/12b.png, low/D/20200109_D/text/first.png: the name"
            " has no number",
            "low/D/20200109_D/twice/1.png (as 01.png), low/D/20200109_D/twice/frame_001.png (as 01.png): two frames of one",
            "low/D/stray.png, low/D/20200109_D/stray.png: an image outside of the folder of a cell",
            "low/D/20200109_D/twice/a.tif, low/D/20200109_D/twice/inner/: no PNG",
            "low/D/20200110_D/: there are no folders of cells in it",
            "low/F/: there are no folders of dates in it",
        ):
            assert part in message, f"{part}\n{message}"
        assert message.startswith(f"{message.count(chr(10))} problems with the movies in")

    def test_thousands_of_one_kind_share_a_line(self, tree):
        tree.fill()
        for cell in range(300):
            tree.add("low", "D", "20200109_D", f"c{cell:03d}", frames=())
        message = told(tree)
        assert message.startswith("1 problem") and "c004/ and 295 more: the folder of a cell is empty" in message

    def test_no_tree(self, tree, tmp_path):
        message = told(tree)
        assert "has no folder high and no folder low; expected <high|low>/<pdx>" in message
        tree.root = tmp_path / "absent"
        assert "there is no folder" in told(tree)
        only = Tree(tmp_path / "only")
        only.add("high", "A", "20200101_A", "c")
        assert "has no folder low" in told(only)
