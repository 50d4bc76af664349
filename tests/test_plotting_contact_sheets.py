"""Contact sheets: every slice is there, with its caption, the ticks at its point, and a frame where it is marked."""

from __future__ import annotations

import numpy as np
import pytest

from armed.plotting.contact_sheets import COLUMNS, GAP, Tile, contact_sheet


def tiles(n, size=64, **more):
    return [
        Tile(np.full((size, size), 10 * i + 10, np.uint8), f"sub-{i}_ses-1", "AD", (20, 40), **more) for i in range(n)
    ]


@pytest.mark.parametrize(("n", "rows"), [(1, 1), (COLUMNS, 1), (COLUMNS + 1, 2)])
def test_every_slice_is_there(n, rows):
    sheet = np.asarray(contact_sheet("Site a", "2 AD", tiles(n)))
    for i in range(n):
        assert (sheet == 10 * i + 10).sum() > 0.9 * 128 * 128  # twice as large, ticks aside
    filled = (sheet == 10).sum(axis=1) > 100
    assert filled.sum() == 128 and (sheet.shape[0] > 300) == (rows == 2)


def test_ticks_point_to_the_point():
    sheet = np.asarray(contact_sheet("", "", tiles(1)))
    top = np.flatnonzero((sheet == 10).sum(axis=1) > 100)[0]
    at_left = np.flatnonzero(sheet[top : top + 128, GAP] == 255)
    at_bottom = np.flatnonzero(sheet[top + 127, GAP : GAP + 128] == 255)
    assert at_left.tolist() == [41] and at_bottom.tolist() == [81]


def test_without_a_point_there_are_no_ticks():
    sheet = np.asarray(contact_sheet("", "", [Tile(np.full((64, 64), 10, np.uint8), "a", "b")]))
    assert (sheet == 10).sum() >= 128 * 128 and not (sheet == 255).any()


def test_marked_ones_are_framed():
    plain, marked = (np.asarray(contact_sheet("", "", tiles(1, marked=m))) for m in (False, True))
    frame = (marked == 255) & (plain != 255)
    assert frame.sum() > 4 * 128 and not frame[GAP + 60 :, GAP + 5 : GAP + 120][:100].any()


def test_long_texts_are_broken():
    """Nothing is written beyond the sheet or into the neighbour."""
    long = [Tile(np.zeros((96, 96), np.uint8), "sub-" + "0123456789" * 6 + "_ses-1", "AD", (1, 1)) for _ in range(2)]
    sheet = np.asarray(contact_sheet("Site a", "a long subtitle of many words " * 5, long))
    short = np.asarray(contact_sheet("Site a", "a", tiles(2, 96)))
    assert sheet.shape[0] > short.shape[0] and sheet.shape[1] == short.shape[1]
    assert not sheet[:, -GAP + 1 :].any()
