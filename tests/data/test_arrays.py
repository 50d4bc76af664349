"""Files of arrays: the same as NumPy's, but for images, which are mapped."""

import io
import zipfile

import numpy as np
import pytest

from armed.data.arrays import read_arrays, write_arrays

IMAGES = np.random.default_rng(0).integers(0, 256, size=(3, 4, 5), dtype=np.uint8)
TABLES = {
    "x": np.random.default_rng(0).normal(size=(4, 2)),
    "names/y": np.array(["a", "bc"]),
    "bytes": np.zeros((4, 2), dtype=np.uint8),
    "floats": np.zeros((2, 3, 3), dtype=np.float32),
    "none": np.zeros((0, 3, 3), dtype=np.uint8),
    "flag": np.asarray(True),
}


def test_without_images_the_file_is_numpys_byte_for_byte():
    ours, theirs = io.BytesIO(), io.BytesIO()
    write_arrays(ours, TABLES)
    np.savez_compressed(theirs, **TABLES)
    assert ours.getvalue() == theirs.getvalue()


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed, None])
def test_arrays_come_back_from_our_files_and_from_numpys(tmp_path, write):
    arrays, path = {**TABLES, "images": IMAGES, "turned": np.asfortranarray(IMAGES)}, tmp_path / "file.npz"
    if write is None:
        with path.open("wb") as file:
            write_arrays(file, arrays)
    else:
        write(path, **arrays)
    found = read_arrays(path)
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype
        mapped = name in ("images", "turned") and write is not np.savez_compressed
        assert isinstance(found[name], np.memmap) == mapped
    with np.load(path) as file:
        np.testing.assert_array_equal(file["images"], IMAGES)


def test_images_are_stored_and_all_else_compressed(tmp_path):
    with (tmp_path / "file.npz").open("wb") as file:
        write_arrays(file, {**TABLES, "images": IMAGES})
    with zipfile.ZipFile(tmp_path / "file.npz") as archive:
        stored = [m.filename for m in archive.infolist() if m.compress_type == zipfile.ZIP_STORED]
        assert stored == ["images.npy"] and archive.testzip() is None
