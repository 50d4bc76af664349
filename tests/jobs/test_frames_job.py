"""The job that collects frames: what it writes from trees and lists, and all it refuses before anything is left there."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from movie_trees import SIZE, Tree, pixels, put_png
from PIL import Image

from armed.data.frame_statistics import STATISTICS
from armed.data.live_cell import read_frames
from armed.errors import DataError
from armed.jobs.frames import COLUMNS, collect_frames
from armed.jobs.frames_page import MOST_CELLS, cells_shown

SETTINGS = {"image_size": SIZE, "seen": "shared", "seen_step": 1, "unseen_step": 2}


@pytest.fixture
def tree(tmp_path):
    return Tree(tmp_path / "movies")


@pytest.fixture
def run(tmp_path):
    def run(source, out="frames", processes=1, **settings):
        collect_frames(
            SETTINGS | settings,
            source.root if isinstance(source, Tree) else source,
            tmp_path / out,
            processes=processes,
        )
        return tmp_path / out

    return run


@pytest.fixture
def refused(run):
    def refused(source, **settings) -> str:
        with pytest.raises(DataError) as error:
            run(source, **settings)
        return str(error.value)

    return refused


def files_of(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


class TestWritten:
    def test_files(self, tree, run):
        out = run(tree.fill())
        dates = ("20200101", "20200102", "20200103", "20200201", "20200202")
        names = ["clusters.tsv", "frames.tsv", "images.npy", "index.html", "overview.png", "remarks.tsv"]
        assert sorted(files_of(out)) == sorted([*names, *(f"sheets/{date}.png" for date in dates)])
        frames, images, remarks = read_frames(out)
        assert tuple(frames) == (*COLUMNS, *STATISTICS)
        assert images.shape == (36 + 4 * 2, SIZE, SIZE) and images.dtype == np.uint8
        for row in frames.iloc[::7].itertuples():
            with Image.open(tree.root / row.path) as image:
                np.testing.assert_array_equal(images[row.row], np.asarray(image))
        assert frames["seen"].tolist() == [1] * 36 + [0] * 8 and frames["sample_id"].is_unique
        assert set(frames["cluster"][frames["seen"] == 1]) == set(dates[:3])
        assert (frames["label"] == (frames["class"] == "low")).all()
        assert not frames[list(STATISTICS)].isna().any().any()
        told = dict(zip(remarks["what"] + ": " + remarks["reason"], remarks["count"], strict=True))
        assert told == {
            "seen dates: of at least 2 PDX each (seen: shared): 20200101, 20200102, 20200103": 3,
            "unseen dates: all others: 20200201, 20200202": 2,
            "frames: of seen dates left out: one of 1 is used, from the first on in the order of numbers (36 of 36 frames)": 0,
            "frames: of unseen dates left out: one of 2 is used, from the first on in the order of numbers (8 of 12 frames)": 4,
        }

    def test_steps_go_by_place(self, tree, run):
        """Every 4th and every 32nd of a cell, whatever its frames are numbered by."""
        numbers = [*range(5, 305, 5)]
        tree.fill(cells=1, frames=numbers)
        frames = read_frames(run(tree, seen_step=4, unseen_step=32))[0]
        of_cell = frames.groupby("subject")["frame"].agg(list)
        assert of_cell["A/20200101/cell0"] == numbers[::4] and of_cell["B/20200201/cell0"] == numbers[::32]

    def test_number_of_processes_changes_nothing(self, tree, run):
        tree.fill(cells=9)
        assert files_of(run(tree, out="one")) == files_of(run(tree, out="two", processes=2))

    def test_named_dates(self, tree, run):
        frames = read_frames(run(tree.fill(), seen=["20200103", 20200101]))[0]
        assert set(frames["cluster"][frames["seen"] == 1]) == {"20200101", "20200103"}

    def test_only_images_that_are_used_are_opened(self, tree, run):
        tree.fill()
        (tree.root / "high/B/20200201_B/cell0/1.png").write_bytes(b"x")
        assert len(read_frames(run(tree))[1]) == 44

    def test_stand_ins_are_told_with_their_phenotypes(self, tree, run, refused):
        out = run(tree.fill().tell())
        frames = read_frames(out)[0]
        assert frames["phenotype"][frames["subject"] == "A/20200101/cell1"].tolist() == [0.1] * 3
        assert "stand-in" in (out / "index.html").read_text().lower()
        tree.add("low", "C", "20200202_C", "new")
        assert "truth.json tells nothing of 1 cells: C/20200202/new" in refused(tree)

    def test_page_and_sheets(self, tree, run):
        tree.fill().add("high", "A", "2020X_A_<b>", "c")
        out = run(tree)
        page = (out / "index.html").read_text()
        assert page.count("data:image/jpeg;base64,") == 7 and "Stand-in" not in page
        assert not re.search(r'(src|href)="(?!data:|#)', page)  # needs no other file
        body = page.split("</style>")[1]
        assert "A_&lt;b&gt;" in body and "<b>" not in re.sub(
            r"<b>(brightness|contrast|sharpness|snr|gradient)</b>", "", body
        )
        with Image.open(out / "sheets" / "20200101.png") as sheet:
            assert sheet.mode == "L"
        clusters = pd.read_csv(out / "clusters.tsv", sep="\t", dtype={"cluster": str}).set_index("cluster")
        assert clusters.loc["20200102", ["seen", "groups", "cells", "images"]].tolist() == [1, "B; D", 4, 12]

    def test_sheets_show_all_groups_by_turns(self):
        frames = pd.DataFrame(
            [(g, f"{g}{c}", f) for g, n in (("a", 40), ("b", 3)) for c in range(n) for f in range(3)],
            columns=["group", "subject", "frame"],
        )
        shown = cells_shown(frames)
        assert len(shown) == MOST_CELLS and (shown["frame"] == 1).all() and shown["subject"].is_unique
        assert (shown["group"] == "b").sum() == 3


class TestList:
    @pytest.fixture
    def table(self, tmp_path):
        rows = []
        for i in range(24):
            put_png(tmp_path / "own" / f"{i:02d}.png", pixels(i))
            day, label = ("x", "y", "z", "z")[i % 4], ("healthy", "ill")[i // 4 % 2]
            rows.append((f"{i:02d}.png", label, day, "p1" if day == "z" else f"p{i // 4 % 2}"))
        return pd.DataFrame(rows, columns=["path", "label", "cluster", "group"])

    def write(self, table, tmp_path):
        table.to_csv(tmp_path / "own" / "list.csv", index=False)
        return tmp_path / "own" / "list.csv"

    def test_all_images_are_used(self, table, run, tmp_path):
        frames, images, remarks = read_frames(run(self.write(table, tmp_path), positive="ill"))
        assert len(images) == 24 and set(frames["cluster"][frames["seen"] == 1]) == {"x", "y"}
        assert (frames["label"] == (frames["class"] == "ill")).all() and (frames["frame"] == -1).all()
        np.testing.assert_array_equal(images[frames["row"][frames["sample_id"] == "05.png"].item()], pixels(5))
        assert not (remarks["what"] == "frames").any()
        assert "class 1: 'ill'" in " ".join(remarks["reason"]).replace("1 is", "class 1:")

    def test_steps_apply_to_frames(self, table, run, tmp_path):
        table["subject"] = table["group"] + table["cluster"] + table["label"]
        table["frame"] = range(24)
        frames = read_frames(run(self.write(table, tmp_path), positive="ill", seen_step=3, unseen_step=100))[0]
        assert frames["frame"].tolist() == sorted(frames["frame"].tolist(), key=frames["frame"].tolist().index)
        assert len(frames[frames["seen"] == 0]) == 2 and len(frames[frames["seen"] == 1]) == 4

    def test_problems_of_list_and_images(self, table, refused, tmp_path):
        table.loc[0, "path"] = "absent.png"
        put_png(tmp_path / "own" / "05.png", pixels(5, 20))
        message = refused(self.write(table, tmp_path))
        for part in ("say which is class 1: positive: ill", "line 2 'absent.png'", "05.png (20 x 20)"):
            assert part in message


class TestRefused:
    def test_every_problem_in_one_message_and_nothing_left(self, tree, refused, tmp_path):
        tree.fill()
        a, d = tree.root / "high/A/20200101_A_C/cell0", tree.root / "low/D/20200102_B_D/cell1"
        put_png(a / "0.png", pixels(0, 20))
        put_png(a / "1.png", pixels(0).astype(np.uint16) * 99)
        Image.fromarray(np.stack([pixels(0)] * 3, axis=-1)).save(a / "2.png")
        (d / "0.png").write_bytes((d / "0.png").read_bytes()[:100])
        (d / "1.png").write_text("no image")
        put_png(d / "2.png", np.zeros((SIZE, SIZE), np.uint8))
        tree.add("high", "A", "20200301_A", "empty", frames=())
        tree.add("hihg", "A", "20200302_A", "c")
        message = refused(tree, seen=["20200101", "20200201", "2020010"])
        for part in (
            f"{a.relative_to(tree.root)}/0.png (20 x 20): the image is not of the expected {SIZE} x {SIZE} pixels;"
            " studies.live_cell.data.image_size sets the size",
            "1.png (16 bit, grey), high/A/20200101_A_C/cell0/2.png (8 bit, RGB colour): the image is not grey",
            f"{d.relative_to(tree.root)}/0.png (100 bytes): the file is cut short",
            "cell1/1.png: no PNG file",
            "cell1/2.png (all 0): the image is constant",
            "high/A/20200301_A/empty/: the folder of a cell is empty",
            "hihg (Did you mean 'high'?): no class",
            "PDX A is in 2 classes: high/A, hihg/A",
            "`seen` names a date with one PDX: 20200201 (B)",
            "`seen` names the date '2020010', of which there is no cell. Did you mean '2020010",
        ):
            assert part in message, f"{part}\n{message}"
        assert [p.name for p in tmp_path.iterdir()] == ["movies"]

    @pytest.mark.parametrize(
        ("settings", "told"),
        [
            ({"seen": "share"}, "`seen` is 'share'; expected 'shared' or a list of dates. Did you mean 'shared'"),
            ({"seen": ["20200101"]}, "`seen` names 1 dates; expected at least 2"),
            ({"seen": ["20200101", "20200101", "20200102"]}, "'20200101' 2 times"),
            ({"image_size": 8}, "image_size is 8; expected a whole number of pixels, at least 16"),
            ({"seen_step": 0, "unseen_step": 2.5}, "seen_step is 0(.|\n)*unseen_step is 2.5"),
            ({"processes": 0}, "processes is 0"),
        ],
    )
    def test_settings(self, tree, refused, settings, told):
        assert re.search(told, refused(tree.fill(), **settings))

    def test_dates(self, tree, refused):
        for pdx, date in (("A", "1_A_C"), ("C", "1_A_C"), ("A", "2_A_C"), ("C", "2_A_C")):
            tree.add("high" if pdx == "A" else "low", pdx, date, "c")
        assert "all 2 dates are seen, none is left unseen" in refused(tree)
        tree.add("low", "D", "3_D", "c")
        assert "`seen` names 1 dates" in refused(tree, seen=["1"])

    def test_too_few_shared_dates(self, tree, refused):
        for pdx, date in (("A", "1_A_C"), ("C", "1_A_C"), ("A", "2_A")):
            tree.add("high" if pdx == "A" else "low", pdx, date, "c")
        assert "1 of 2 dates have at least 2 PDX; expected 2 or more" in refused(tree)

    def test_seen_dates_of_one_class(self, tree, refused):
        for pdx, date in (("A", "1_A_B"), ("B", "1_A_B"), ("A", "2_A_B"), ("B", "2_A_B"), ("C", "3_C")):
            tree.add("low" if pdx == "C" else "high", pdx, date, "c")
        assert "the seen dates (1, 2) have cells of one class only" in refused(tree)

    def test_no_source(self, refused, tmp_path):
        message = refused(tmp_path / "absent")
        assert "there is no such folder or file" in message and message.startswith("1 problem")

    def test_thousands_of_images_of_one_problem_share_a_line(self, tree, refused):
        message = refused(tree.fill(cells=12), image_size=32)
        assert "and 259 more: the image is not of the expected 32 x 32 pixels" in message and message.count("\n") == 1
