"""PNG images: whole grey ones of the size asked for are read as they are, whatever is wrong with others is told by kind."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from movie_trees import pixels
from PIL import Image

from armed.data.frame_statistics import STATISTICS, by_cluster, frame_statistics
from armed.data.image_table import FileProblems
from armed.data.png_images import SIGNATURE, ImageFaultError, read_header, read_images, read_png
from armed.errors import DataError, Problems

SIZE = 16
SETTING = "studies.live_cell.data.image_size"


def encoded(image, **options) -> bytes:
    with io.BytesIO() as file:
        (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(file, "PNG", **options)
        return file.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def fault(tmp_path, content: bytes | None) -> str:
    path = tmp_path / "12.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ImageFaultError) as error:
        read_png(path, SIZE, SETTING)
    return str(error.value)


@pytest.mark.parametrize("options", [{}, {"compress_level": 0}, {"optimize": True}, {"dpi": (96, 96)}])
def test_pixels_are_those_of_the_file(tmp_path, options):
    path = tmp_path / "a.png"
    path.write_bytes(encoded(pixels(0), **options))
    np.testing.assert_array_equal(read_png(path, SIZE, SETTING), pixels(0))


def test_grey_16_bit_and_colour(tmp_path):
    grey = Image.fromarray(pixels(0))
    for image, told in {
        "16 bit, grey": Image.fromarray(pixels(0).astype(np.uint16) * 200),
        "8 bit, RGB colour": grey.convert("RGB"),
        "8 bit, RGB colour with transparency": grey.convert("RGBA"),
        "8 bit, grey with transparency": grey.convert("LA"),
        "8 bit, palette colour": grey.convert("P"),
        "1 bit, grey": grey.convert("1"),
    }.items():
        message = fault(tmp_path, encoded(told))
        assert "the image is not grey with 8 bits" in message and f"({image})" in message


def test_other_sizes_say_what_was_expected_and_what_sets_it(tmp_path):
    message = fault(tmp_path, encoded(pixels(0, 20)))
    assert f"not of the expected 16 x 16 pixels; {SETTING} sets the size (the paper's live cells have 256)" in message
    assert "(20 x 20)" in message
    assert "(16 x 8)" in fault(tmp_path, encoded(pixels(0)[:8]))


def test_every_cut_and_every_changed_byte_is_found(tmp_path):
    whole = encoded(pixels(0))
    for n in range(8, len(whole)):
        assert "the file is cut short" in fault(tmp_path, whole[:n]), n
    for i in range(8, len(whole)):
        with pytest.raises(ImageFaultError):
            read_header(whole[:i] + bytes([whole[i] ^ 1]) + whole[i + 1 :])


def test_data_that_no_checksum_tells(tmp_path):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", SIZE, SIZE, 8, 0, 0, 0, 0))
    end = chunk(b"IEND", b"")
    short = zlib.compress(b"\0" * 40)
    for data in (b"", chunk(b"IDAT", b"no zlib data at all"), chunk(b"IDAT", short)):
        assert "the file is damaged" in fault(tmp_path, SIGNATURE + header + data + end)
    assert "the file is damaged" in fault(tmp_path, SIGNATURE + end)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "(empty)"),
        (b"\xff\xd8\xff\xe0 and more", "(a JPEG file)"),
        (b"II*\0 and more", "(a TIFF file)"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "Git LFS pointer"),
        (b"something", "no PNG file, whatever its name"),
    ],
)
def test_no_png(tmp_path, content, told):
    message = fault(tmp_path, content)
    assert "no PNG file" in message and told in message


def test_constant_and_absent(tmp_path):
    assert "the image is constant; take it out (all 7)" in fault(tmp_path, encoded(np.full((SIZE, SIZE), 7, np.uint8)))
    (tmp_path / "12.png").unlink()
    assert "the file cannot be read (No such file" in fault(tmp_path, None)


class TestMany:
    @pytest.fixture
    def paths(self, tmp_path):
        names = [f"{i:03d}.png" for i in range(150)]
        for i, name in enumerate(names):
            (tmp_path / name).write_bytes(encoded(pixels(i, 20 if i % 50 == 7 else SIZE)))
        (tmp_path / names[3]).write_bytes(b"x")
        return names

    def read(self, folder, names, processes):
        file, files = io.BytesIO(), FileProblems()
        statistics = read_images(folder, names, SIZE, files, file, setting=SETTING, processes=processes)
        images = np.frombuffer(file.getvalue(), np.uint8).reshape(len(names), SIZE, SIZE)
        problems = Problems(DataError, "the images")
        files.tell(problems)
        return images, statistics, problems.found

    def test_number_of_processes_changes_nothing(self, tmp_path, paths):
        (one, told, found), (other, told_2, found_2) = (self.read(tmp_path, paths, n) for n in (1, 2))
        np.testing.assert_array_equal(one, other)
        assert found == found_2 and list(told) == list(STATISTICS)
        for name in STATISTICS:
            np.testing.assert_array_equal(told[name], told_2[name])
        np.testing.assert_array_equal(one[149], pixels(149))
        bad = np.isnan(told["brightness"])
        assert np.flatnonzero(bad).tolist() == [3, 7, 57, 107] and not one[bad].any()
        assert found[0].startswith("003.png: no PNG file")
        assert found[1].startswith("007.png (20 x 20), 057.png (20 x 20), 107.png (20 x 20): the image is not of the")


class TestStatistics:
    def test_they_find_what_microscopes_do(self):
        rng = np.random.default_rng(0)
        rows, columns = np.mgrid[:64, :64]
        cell = 100 + 60 * np.exp(-((rows - 32) ** 2 + (columns - 30) ** 2) / 60)

        def of(image, noise=4.0):
            noisy = image + np.random.default_rng(1).normal(0, noise, image.shape)
            return frame_statistics(np.clip(np.round(noisy), 0, 255).astype(np.uint8))

        base = of(cell)
        assert base["snr"] == pytest.approx(20 * np.log10(cell.mean() / 4), abs=0.5)
        assert of(cell, 8.0)["snr"] == pytest.approx(base["snr"] - 20 * np.log10(2), abs=0.5)
        assert of(cell + 30)["brightness"] == pytest.approx(base["brightness"] + 30 / 255, abs=0.001)
        assert of(cell + columns - 32)["gradient"] > 3 * base["gradient"]
        texture = 20 * rng.normal(size=(64, 64))
        assert of(cell + texture)["sharpness"] > base["sharpness"]
        assert set(base) == set(STATISTICS)

    def test_by_cluster(self):
        import pandas as pd

        frames = pd.DataFrame(
            {
                "cluster": ["b", "b", "a", "c"],
                "group": ["p", "q", "q", "p"],
                "subject": ["1", "2", "3", "4"],
                "class": ["low", "high", "high", "low"],
                "seen": [1, 1, 0, 1],
                **{name: [1.0, 3.0, 5.0, 7.0] for name in STATISTICS},
            }
        )
        table = by_cluster(frames).set_index("cluster")
        assert table.index.tolist() == ["b", "c", "a"]
        assert table.loc["b", ["groups", "n_groups", "cells", "images", "images_low"]].tolist() == ["p; q", 2, 2, 2, 1]
        assert table.loc["b", "brightness_mean"] == 2 and np.isnan(table.loc["a", "brightness_sd"])
