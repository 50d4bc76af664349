"""What every figure must be: legible, and nothing over anything."""

from __future__ import annotations

import matplotlib.text


def texts(figure):
    return " ".join(t.get_text() for t in figure.findobj(matplotlib.text.Text))


def overlaps(boxes):
    """Pairs of boxes that cover one another by more than a pixel."""
    found = []
    for i, a in enumerate(boxes):
        for b in boxes[i + 1 :]:
            wide = min(a.x1, b.x1) - max(a.x0, b.x0)
            high = min(a.y1, b.y1) - max(a.y0, b.y0)
            if wide > 1 and high > 1:
                found.append((a, b))
    return found


def smallest_text(figure):
    return min(t.get_fontsize() for t in figure.findobj(matplotlib.text.Text) if t.get_text())


def assert_nothing_covers_anything(figure):
    renderer = figure.canvas.get_renderer()
    axes = [ax for ax in figure.axes if ax.axison]
    for legend in figure.legends:
        covered = overlaps([legend.get_window_extent(renderer), figure.axes[0].get_window_extent(renderer)])
        assert not covered
        for ax in axes:
            assert not overlaps([legend.get_window_extent(renderer), ax.get_tightbbox(renderer)])
    for ax in axes:
        for axis in (ax.xaxis, ax.yaxis):
            shown = [t for t in axis.get_ticklabels() if t.get_text() and t.get_visible()]
            low, high = sorted(ax.get_xlim() if axis is ax.xaxis else ax.get_ylim())
            place = 0 if axis is ax.xaxis else 1
            shown = [t for t in shown if low <= t.get_position()[place] <= high]
            assert not overlaps([t.get_window_extent(renderer) for t in shown])
    titles = [t for ax in axes for t in (ax.title, ax._left_title) if t.get_text()]
    headings = [*titles, *figure.texts]
    assert not overlaps([t.get_window_extent(renderer) for t in headings])
    assert not overlaps([ax.get_window_extent(renderer) for ax in axes])
    for text in headings:
        box = text.get_window_extent(renderer)
        assert box.x0 >= 0 and box.x1 <= figure.bbox.x1, text.get_text()
