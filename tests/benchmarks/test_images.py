"""Training on images, measured: cases, what a session takes, tables, the figure, and a whole tiny run."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from armed import config as configuration
from armed import registry, results
from benchmarks import image_figures, image_measure, image_profile, image_tables, image_workload, images
from benchmarks.image_cases import ENGINES, METHODS, SIZES, STUDIES, ImageCase, plan
from benchmarks.image_worker import ImageWorker


def made_up(case, factor=1.0):
    """As an `ImageWorker` that has measured a case."""
    cost = {"plain": 0.1, "library": 0.05}[case.engine] * (0.5 if case.precision == "mixed" else 1.0) * factor
    parts = dict.fromkeys(image_profile.PARTS, cost / len(image_profile.PARTS)) if case.profiled else {}
    repeats = [(f * cost, 0.01 * cost) for f in (1.0, 1.2)]
    return SimpleNamespace(case=case, repeats=repeats, peak_mb=500.0, parts=parts)


def workers(sizes=("default", "paper"), devices=("cpu",), study="ad_diagnosis"):
    return [made_up(case) for block in plan(study, sizes, METHODS[study], devices, 2) for case in block]


@pytest.fixture(scope="module")
def paper():
    return configuration.load([image_workload.CONFIG, image_workload.CONFIG.with_name("paper.yaml")])


ABSENT = {
    "ad_diagnosis": {"scales and biases", "padding and cropping"},
    "live_cell": {"pooling", "dropout", "scales and biases"},
}
"""Parts of a step that the conventional network has not."""


class TestCases:
    @pytest.mark.parametrize("study", STUDIES)
    def test_every_network_that_the_study_trains_is_measured(self, study):
        config = configuration.load([image_workload.CONFIG])
        models = {m: registry.model(m) for m in configuration.fit_models(config, study)}
        trained = {name for name, m in models.items() if m.engine == "stack" and m.weights_from is None}
        assert trained == set(METHODS[study]) - {"cluster_inference"}

    def test_cases_of_a_block_differ_in_engine_alone(self):
        methods = METHODS["live_cell"]
        blocks = plan("live_cell", ["default", "paper"], methods, ["cpu", "cuda"], 2)
        assert len(blocks) == 4 * len(methods)
        for block in blocks:
            assert [(c.engine, c.precision) for c in block] == list(ENGINES)
            assert len({(c.study, c.method, c.size, c.device, c.threads) for c in block}) == 1

    @pytest.mark.parametrize("study", STUDIES)
    @pytest.mark.parametrize("method", ["domain_adversarial", "armed", "armed_no_adversary"])
    def test_the_papers_size_is_that_of_its_configuration(self, study, method, paper):
        case = ImageCase(method, "paper", study=study)
        given, expected = image_workload.settings(case), configuration.settings(paper, study, method)
        assert given["network"] | {"norm_momentum": 0} == expected["network"] | {"norm_momentum": 0}
        assert given["training"]["batch_size"] == expected["training"]["batch_size"]
        assert given["training"]["optimiser"] == expected["training"]["optimiser"]
        assert given["main"] == expected["variants"]["main"]
        assert case.scale.pixels == paper["studies"][study]["data"]["image_size"]

    @pytest.mark.parametrize("study", STUDIES)
    @pytest.mark.parametrize("method", ["domain_adversarial", "armed"])
    def test_the_default_size_is_the_configurations(self, study, method):
        config = configuration.load([image_workload.CONFIG])
        block, case = config["studies"][study], ImageCase(method, study=study)
        given = image_workload.settings(case)
        assert given["network"] == block["network"]
        assert given["main"] == configuration.settings(config, study, method)["variants"]["main"]
        assert given["training"]["batch_size"] == block["training"]["batch_size"]
        assert case.scale.pixels == block["data"]["image_size"]


@pytest.mark.parametrize("study", STUDIES)
class TestSession:
    @pytest.mark.parametrize("engine", ENGINES)
    def test_all_steps_are_taken_and_counted(self, engine, study):
        session = image_measure.prepare(ImageCase("conventional", "tiny", "cpu", *engine, threads=1, study=study))
        batches = session.draw(2)
        assert session.n_images(batches) == 2 * 6
        found = session.measure()
        assert 0 < found.loading < found.step < 1
        assert found.peak_mb > 100

    def test_a_repeat_trains(self, study):
        session = image_measure.prepare(ImageCase("armed", "tiny", "cpu", "library", threads=1, study=study))
        before = session.state.stack.state()
        session.measure()
        after = session.state.stack.state()
        (output,) = (name for name in before if name in ("net.output.weight", "net.classifier.output.weight"))
        assert not torch.equal(before[output], after[output])
        assert any(not torch.equal(before[k], after[k]) for k in before if k.startswith("adversary."))

    @pytest.mark.parametrize("engine", ["plain", "library"])
    def test_the_profile_finds_the_parts(self, engine, study):
        found = image_measure.prepare(
            ImageCase("conventional", "tiny", "cpu", engine, threads=1, study=study)
        ).profile()
        assert list(found) == list(image_profile.PARTS)
        assert {part for part, seconds in found.items() if not seconds} == ABSENT[study]
        assert found["all else"] < 0.5 * sum(found.values())


def test_a_gradient_counts_with_the_part_that_it_is_of():
    x = torch.ones(2_000_000, requires_grad=True)

    def step():
        with torch.autograd.profiler.record_function("scales and biases"):
            y = x.exp().tanh().sin()
        torch.autograd.grad(y, x, torch.ones_like(y))

    found = image_profile.seconds_of_parts(step, torch.device("cpu"))
    assert found["scales and biases"] > 0.8 * sum(found.values())


class TestTables:
    def test_ratios_are_to_the_plain_loop_of_the_same_network_size_and_device(self):
        rows = image_tables.comparison(workers())
        assert np.allclose(rows.loc[rows["engine"] == "plain", "ratio"], 1)
        of_library = rows[rows["engine"] == "library"].set_index("precision")["ratio"]
        assert np.allclose(of_library["float32"], 2) and np.allclose(of_library["mixed"], 4)
        row = rows.iloc[0]
        assert row["images_low"] < row["images_per_s"] < row["images_high"]
        assert np.isclose(row["ms_per_image"], 1000 / row["images_per_s"])

    def test_they_are_as_their_schemas_say(self, tmp_path):
        for name, table in (
            ("benchmark_images", image_tables.comparison(workers())),
            ("benchmark_images_profile", image_tables.parts(workers())),
        ):
            results.write(name, table, tmp_path / f"{name}.tsv")
            assert len(results.read(name, tmp_path / f"{name}.tsv")) == len(table)

    def test_without_its_plain_loop_a_case_has_no_ratio(self):
        rows = image_tables.comparison([w for w in workers() if w.case.engine != "plain"])
        assert rows["ratio"].isna().all()

    def test_parts_as_text_have_a_row_each(self):
        text = image_tables.profile_text(image_tables.parts(workers(["paper"])))
        assert all(part in text for part in (*image_profile.PARTS, "all"))

    @pytest.mark.parametrize(
        ("sizes", "devices"), [(("default", "paper"), ("cpu",)), (("paper",), ("cpu",)), (("paper",), ("cpu", "cuda"))]
    )
    @pytest.mark.parametrize("study", STUDIES)
    def test_the_figure_has_a_panel_for_each_size_and_device(self, study, sizes, devices):
        figure = image_figures.speed(study, image_tables.comparison(workers(sizes, devices, study)))
        titled = [ax for ax in figure.axes if ax.get_title(loc="left")]
        assert len(titled) == len(sizes) * len(devices)
        assert {t.get_text() for ax in titled for t in ax.texts} == {"2.0x", "4.0x"}
        assert all(
            f"{SIZES[study][size].pixels} px" in "".join(a.get_title(loc="left") for a in titled) for size in sizes
        )


def test_a_case_that_fails_says_which_and_why():
    worker = ImageWorker(ImageCase("no such method", "tiny", threads=1))
    worker.warm_up()
    worker.measure()
    worker.close()
    assert worker.error.startswith(
        "ad_diagnosis: no such method plain float32, tiny size, cpu was not measured: Traceback"
    )
    assert worker.repeats == []


def test_a_tiny_run_writes_tables_and_figure_of_each_study(tmp_path):
    arguments = ["--size", "tiny", "--methods", "conventional", "--device", "cpu", "--threads", "1"]
    assert images.main([*arguments, "--output", str(tmp_path)]) == 0
    for study in STUDIES:
        table = results.read("benchmark_images", tmp_path / f"benchmark_images_{study}.tsv")
        assert list(zip(table["engine"], table["precision"], strict=True)) == list(ENGINES)
        assert (table["repeats"] == 2).all() and (table[["images_per_s", "peak_mb", "ratio"]] > 0).all(axis=None)
        assert len(results.read("benchmark_images_profile", tmp_path / f"benchmark_images_profile_{study}.tsv"))
        assert {p.suffix for p in (tmp_path / "figures").glob(f"benchmark_images_{study}.*")} == {".svg", ".png"}
