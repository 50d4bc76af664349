"""Scale: small sizes run, a process that takes too much memory is told, the figure is drawn; and one middle size holds."""

from __future__ import annotations

import pandas as pd
import pytest

from benchmarks.reliability import scale, scale_figure
from benchmarks.reliability.scale_point import Point


def test_small_sizes_are_measured():
    table = scale.measure(scale.small_points()[1:])
    assert (table["note"] == "").all() and list(table.columns) == list(scale.COLUMNS)
    stages = table.groupby("what")["stage"].agg(list)
    assert stages["layers"] == ["forward and backward"]
    assert stages["inference"] == [
        *("data", "folds", "fit", "epoch", "prediction", "random effects table"),
        *("fit of the Z-predictor", "prediction by inferred Z"),
    ]
    assert (table[["wall_s", "cpu_s", "rows_per_s", "peak_mb"]] > 0).all(axis=None)
    by_stage = table[table["what"] == "inference"].set_index("stage")
    assert by_stage["wall_s"]["epoch"] <= by_stage["wall_s"]["fit"]
    assert by_stage["peak_mb"].is_monotonic_increasing


def test_a_size_that_takes_too_much_memory_is_told():
    table = scale.measure([Point("layers", "dense Z", 20_000, 5, 10_000)], limit_mb=700)  # Z alone is 800 MB
    assert table["stage"].tolist() == ["not measured"] and "memory" in table["note"][0].lower()


def test_the_sizes_go_up_to_the_largest_and_dense_z_to_what_fits():
    asked = scale.points()
    assert scale.LARGEST in asked and len(set(asked)) == len(asked)
    assert all(p.z_mb < scale.LIMIT_MB / 2 for p in asked if p.model == "dense Z")
    assert {p.clusters for p in asked if p.rows == 100_000} == set(scale.CLUSTERS)
    assert {p.rows for p in asked if p.clusters == 10_000} == set(scale.ROWS)


def test_the_figure_is_drawn(tmp_path):
    rows = []
    for rows_, clusters in ((1000, 50), (10_000, 50), (1000, 5)):
        for (what, model, stage), _ in scale_figure.LINES.items():
            size = {"what": what, "model": model, "stage": stage, "rows": rows_, "clusters": clusters}
            rows.append(
                size
                | {"rows_per_cpu_s": 1e4, "peak_mb": 500 + rows_ / 100, "z_mb": rows_ * clusters * 4e-6, "note": ""}
            )
    table = pd.DataFrame(rows).reindex(columns=list(scale.COLUMNS))
    scale.write(table, tmp_path)
    assert (tmp_path / "figures" / "benchmark_scale.svg").is_file()
    assert len(pd.read_csv(tmp_path / "scale.tsv", sep="\t")) == len(rows)
    figure = scale_figure.scale(table)
    assert len(figure.axes) == 4 and figure.axes[2].get_ylabel() == "peak memory, GB"
    figure.canvas.draw()
    ticks = [tick.get_text() for ax in figure.axes for axis in (ax.xaxis, ax.yaxis) for tick in axis.get_ticklabels()]
    assert "1,000" in ticks and not any("$" in text for text in ticks)


@pytest.mark.slow
def test_ten_thousand_clusters_take_little_memory():
    table = scale.measure([Point("stack", "armed", 50_000, 100, 10_000, threads=1)])
    assert (table["note"] == "").all()
    assert table["peak_mb"].max() < 1500  # a dense Z would be 2000 beside all else
    epoch = table.set_index("stage").loc["epoch"]
    assert (
        epoch["rows_per_cpu_s"] > 1500
    )  # measured: 4000 and more; steps over all clusters and rows would be below 300
