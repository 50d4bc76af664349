"""The tree of the stand-in of the live-cell study: its files, the truth, the same bytes twice, frames of one cell."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from armed.data.cell_microscope import TYPICAL, Microscope
from armed.data.cell_model import PDX, Settings, draw
from armed.data.cell_standin import frame_name, make_movie, write
from armed.errors import ConfigError

SMALL = {"image_size": 32, "n_seen_cells": 14, "n_seen_dates": 2, "n_unseen_cells": 4, "n_unseen_dates": 2, "frames": 3}


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    folder = tmp_path_factory.mktemp("standin") / "movies"
    write(folder, SMALL)
    return folder


@pytest.fixture(scope="module")
def truth(tree):
    return json.loads((tree / "truth.json").read_text(encoding="utf-8"))


def files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


class TestTree:
    def test_same_bytes(self, tree, tmp_path):
        write(tmp_path / "two", SMALL, number=0, processes=2)
        write(tmp_path / "other", SMALL, number=1)
        one, two, other = (files(folder) for folder in (tree, tmp_path / "two", tmp_path / "other"))
        assert len(one) == 18 * 3 + 1 and one == two
        assert not set(other.values()) & set(one.values())

    def test_names(self, tree):
        names = [name.split("/") for name in files(tree) if name != "truth.json"]
        days = {}
        for efficiency, pdx, folder, cell, frame in names:
            date, *pdxs = folder.split("_")
            assert PDX[pdx] == efficiency and pdx in pdxs and pdxs == sorted(pdxs)
            assert cell.startswith("cell_") and frame in {frame_name(i) for i in range(3)}
            days.setdefault(date, set()).add(pdx)
            assert set(pdxs) >= days[date]
        assert sorted(len(found) for found in days.values())[:2] == [1, 1]
        assert all(2 <= len(found) < len(PDX) for found in days.values() if len(found) > 1)
        assert frame_name(7) == "frame_0007.png"

    def test_images(self, tree):
        for path in tree.rglob("*.png"):
            with Image.open(path) as image:
                assert image.mode == "L" and image.size == (32, 32) and image.format == "PNG"
                assert np.asarray(image).std() > 2

    def test_wrong_settings_write_nothing(self, tmp_path):
        with pytest.raises(ConfigError, match="image_size"):
            write(tmp_path / "none", {"image_size": 0})
        assert not (tmp_path / "none").exists()

    def test_replaces_what_was_there(self, tmp_path):
        (tmp_path / "movies").mkdir()
        (tmp_path / "movies" / "old.png").write_text("old")
        write(tmp_path / "movies", SMALL | {"frames": 1})
        assert len(files(tmp_path / "movies")) == 19 and [p.name for p in tmp_path.iterdir()] == ["movies"]


class TestTruth:
    def test_is_complete(self, tree, truth):
        assert truth["settings"] == SMALL and truth["number"] == 0 and truth["study"] == "live_cell"
        cells = {}
        for path in tree.rglob("frame_0000.png"):
            efficiency, pdx, folder, cell, _ = path.relative_to(tree).parts
            cells[f"{pdx}/{folder.split('_')[0]}/{cell}"] = efficiency
        assert set(truth["cells"]) == set(cells) and set(truth["groups"]) == set(PDX)
        for key, cell in truth["cells"].items():
            assert key.split("/")[:2] == [cell["pdx"], cell["date"]] and cell["efficiency"] == cells[key]
            assert isinstance(cell["phenotype"], float) and truth["groups"][cell["pdx"]]["efficiency"] == cells[key]
        assert {date for _, date, _ in (key.split("/") for key in cells)} == set(truth["dates"])

    def test_dates(self, truth):
        names = {field.name for field in fields(Microscope)}
        for date in truth["dates"].values():
            assert set(date) == names | {"seen", "n"} and date["seen"] == (len(date["n"]) > 1)
        assert sum(sum(date["n"].values()) for date in truth["dates"].values()) == 18


class TestMovies:
    def test_frames_of_a_cell_are_more_alike_than_cells(self):
        """With one microscope for all: nothing but the cell makes them alike. Four frames apart, as the study takes them."""
        settings = Settings(frames=9)
        cells = draw(settings, 0)[2][::12]
        movies = np.array([make_movie(settings, 0, cell, TYPICAL) for cell in cells]).astype(float)
        for a, movie in enumerate(movies):
            other = movies[(a + 1) % len(movies)]
            near = np.corrcoef(movie[0].ravel(), movie[1].ravel())[0, 1]
            later = np.corrcoef(movie[0].ravel(), movie[4].ravel())[0, 1]
            assert near > later > np.corrcoef(movie[0].ravel(), other[0].ravel())[0, 1] + 0.1

    def test_first_frames_do_not_depend_on_how_many_follow(self):
        cell = draw(Settings(), 2)[2][5]
        short, long = (make_movie(Settings(frames=n), 2, cell, TYPICAL) for n in (4, 40))
        assert (short == long[:4]).all() and long.shape == (40, 64, 64)

    @pytest.mark.parametrize("size", [32, 256])
    def test_the_same_cell_at_other_sizes(self, size):
        calm = replace(TYPICAL, noise=0.002)
        cell = draw(Settings(), 2)[2][8]
        middle = make_movie(Settings(frames=1), 2, cell, calm)[0].astype(float)
        other = make_movie(Settings(frames=1, image_size=size), 2, cell, calm)[0].astype(float)
        small, large = sorted((middle, other), key=len)
        step = len(large) // len(small)
        shrunk = large.reshape(len(small), step, len(small), step).mean(axis=(1, 3))
        assert np.corrcoef(small.ravel(), shrunk.ravel())[0, 1] > 0.95
