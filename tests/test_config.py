"""Reading a configuration, and what each job depends on."""

from __future__ import annotations

import copy
import json
import subprocess
import sys

import pytest
from config_edits import DEFAULT, OVERLAYS, ROOT, SPIRALS, problems, put

from armed import config as configuration
from armed import registry
from armed.candidates import candidates
from armed.errors import ConfigError
from armed.tuning import Plan


@pytest.fixture
def config() -> dict:
    return configuration.load(DEFAULT)


class TestLoad:
    def test_merges_as_snakemake_does(self, tmp_path):
        from snakemake.common.configfile import load_configfile
        from snakemake.utils import update_config

        overlay = tmp_path / "overlay.yaml"
        overlay.write_text(
            "run: {models: [armed]}\nstudies: {spirals_radius: {training: {epochs: 3}, settings: {armed: {slopes: null}}}}\n"
        )
        files = [DEFAULT, *OVERLAYS, overlay]
        expected: dict = {}
        for file in files:
            update_config(expected, load_configfile(file))
        assert configuration.load(files) == expected

    def test_overlay_changes_one_study_only(self, tmp_path):
        """In config.yaml the studies share blocks through anchors."""
        overlay = tmp_path / "overlay.yaml"
        overlay.write_text("studies: {spirals_radius: {training: {epochs: 3}}}")
        merged = configuration.load([DEFAULT, overlay])["studies"]
        assert (merged["spirals_radius"]["training"]["epochs"], merged["spirals_inverted"]["training"]["epochs"]) == (
            3,
            10,
        )
        merged["spirals_radius"]["training"]["epochs"] = 4
        assert merged["spirals_confounded"]["training"]["epochs"] == 10

    def test_json(self, tmp_path):
        overlay = tmp_path / "overlay.json"
        overlay.write_text(json.dumps({"studies": {"spirals_radius": {"settings": {"armed": {"lambda_K": 1e-7}}}}}))
        config = configuration.load([DEFAULT, overlay])
        assert config["studies"]["spirals_radius"]["settings"]["armed"]["lambda_K"] == 1e-7
        assert problems(config) == []

    @pytest.mark.parametrize(
        ("text", "told"),
        [("a: [1", "not valid YAML"), ("- a\n", "holds ['a']"), ("", "holds null"), ("# nothing\n", "holds null")],
    )
    def test_unreadable(self, tmp_path, text, told):
        file = tmp_path / "mine.yaml"
        file.write_text(text)
        with pytest.raises(ConfigError) as caught:
            configuration.load([DEFAULT, file])
        assert told in str(caught.value) and "mine.yaml" in str(caught.value)

    def test_missing_file_names_the_nearest(self):
        with pytest.raises(ConfigError, match=r"Did you mean 'smoke.yaml'\?"):
            configuration.load(DEFAULT.with_name("smok.yaml"))


class TestWhatJobsDependOn:
    def test_selection_keeps_the_order_asked_for(self, config):
        put(config, "run.models", ["armed_randomized_z", "armed", "mixedlm"])
        assert configuration.selected_studies(config) == [*registry.BUILT_IN]
        assert configuration.selected_models(config, "spirals_radius") == ["armed_randomized_z", "armed", "mixedlm"]
        assert configuration.fit_models(config, "spirals_radius") == ["armed", "mixedlm"]

    def test_seeds_and_data_variants(self, config):
        assert configuration.seeds(config, "spirals_radius", "armed") == list(range(20))
        assert configuration.seeds(config, "spirals_radius", "mixedlm") == [0, 1, 2]
        assert configuration.data_variants(config, "spirals_radius") == ["main", "resampled"]
        assert configuration.data_variants(config, "spirals_inverted") == ["main"]
        put(config, f"{SPIRALS}.data.resampled", False)
        assert configuration.data_variants(config, "spirals_radius") == ["main"]

    def test_settings_of_variants(self, config):
        found = configuration.settings(config, "spirals_radius", "mldg")
        assert list(found["variants"]) == ["main", "first_order", "label_defect"]
        assert found["variants"]["main"] == config["studies"]["spirals_radius"]["settings"]["mldg"]
        assert found["variants"]["first_order"] == {**found["variants"]["main"], "order": "first"}
        assert found["network"] == {"hidden": [4, 4, 4]} and found["seeds"] == list(range(20))

    def test_variants_may_share_the_initial_weights(self, config):
        found = configuration.settings(config, "spirals_radius", "conventional")["variants"]
        assert found == {"main": {}, "shared_init": {"shared_init": True}}
        armed = configuration.settings(config, "spirals_radius", "armed")["variants"]
        assert armed["shared_init"] == {**armed["main"], "shared_init": True}
        assert armed["half_kl"]["lambda_K"] == armed["main"]["lambda_K"] / 2
        assert "shared_init" not in configuration.settings(config, "spirals_inverted", "armed")["variants"]

    def test_what_a_search_depends_on(self, config):
        found = configuration.settings(config, "spirals_radius", "lmmnn")["tuning"]
        assert found["default"] == {"learning_rate": 0.001, "initial_sd": 0.3}
        assert found["space"]["initial_sd"] == {"low": 0.1, "high": 1.0, "scale": "log"}
        assert (found["candidates"], found["inner_folds"], found["seeds"]) == (16, 3, [0])
        assert Plan(**found).policy == "best_mean"
        put(config, f"{SPIRALS}.tuning.space.lmmnn.initial_sd", None)
        assert list(configuration.settings(config, "spirals_radius", "lmmnn")["tuning"]["space"]) == ["learning_rate"]

    def test_all_methods_have_the_same_budget(self, config):
        tuned = configuration.tuned_models(config, "spirals_radius")
        assert tuned == [m for m in registry.models_for("spirals_radius") if registry.model(m).tunable]
        for model in tuned:
            plan = Plan(**configuration.settings(config, "spirals_radius", model)["tuning"])
            assert set(plan.space) == set(registry.model(model).tunable)
            found = candidates(plan.space, plan.default, plan.candidates, search=plan.search)
            assert len(found) == 16 and found[0] == plan.default

    def test_models_that_are_not_run_are_not_tuned(self, config):
        put(config, "run.models", ["armed", "mixedlm"])
        assert configuration.tuned_models(config, "spirals_radius") == ["armed"]
        assert configuration.tuned_models(config, "spirals_inverted") == []

    def test_null_leaves_a_variant_out(self, config):
        put(config, f"{SPIRALS}.variants.mldg.label_defect", None)
        assert problems(config) == []
        assert list(configuration.settings(config, "spirals_radius", "mldg")["variants"]) == ["main", "first_order"]

    @pytest.mark.parametrize("model", ["mixedlm", "armed_randomized_z"])
    def test_no_network_where_none_is_trained(self, config, model):
        found = configuration.settings(config, "spirals_radius", model)
        assert set(found) == {"study", "model", "seeds", "variants", "kind", "preparation"}

    @pytest.mark.parametrize(
        ("key", "value", "changed"),
        [
            (f"{SPIRALS}.settings.armed.lambda_K", 1.0, {"armed"}),
            (f"{SPIRALS}.variants.armed", {"mine": {"lambda_K": 1.0}}, {"armed"}),
            (f"{SPIRALS}.settings.mixedlm.slopes", None, {"mixedlm"}),
            (f"{SPIRALS}.slow_seeds", 4, {"mixedlm"}),
            (f"{SPIRALS}.training.epochs", 11, {"armed", "conventional", "inference"}),
            (f"{SPIRALS}.training.batch_size", 16, {"armed", "conventional", "inference"}),
            (f"{SPIRALS}.network.hidden", [4], {"armed", "conventional"}),
            (f"{SPIRALS}.cluster_inference.hidden", [8], {"inference"}),
            (f"{SPIRALS}.seeds", 21, {"armed", "conventional", "armed_randomized_z", "inference", "data", "splits"}),
            (f"{SPIRALS}.torch_threads", 2, {"armed", "conventional", "inference"}),
            (f"{SPIRALS}.folds", 5, {"splits"}),
            (f"{SPIRALS}.data.noise", 0.2, {"data"}),
            (f"{SPIRALS}.tuning.space.armed.lambda_K", [1.0e-4], {"armed"}),
            (f"{SPIRALS}.tuning.candidates", 8, {"armed", "conventional"}),
            (f"{SPIRALS}.tuning.models", ["armed"], {"conventional"}),
            (f"{SPIRALS}.stack_size", 500, set()),
            ("device", "cuda", set()),
            ("run.models", ["armed"], set()),
            ("statistics.bootstrap", 100, set()),
            ("studies.spirals_inverted.training.epochs", 11, set()),
        ],
    )
    def test_an_edit_changes_only_what_it_concerns(self, config, key, value, changed):
        def all_settings():
            models = ("conventional", "mixedlm", "armed", "armed_randomized_z")
            found = {m: configuration.settings(config, "spirals_radius", m) for m in models}
            found["inference"] = configuration.cluster_inference_settings(config, "spirals_radius")
            found["data"] = configuration.data_settings(config, "spirals_radius")
            found["splits"] = configuration.split_settings(config, "spirals_radius")
            return found

        before = all_settings()
        put(config, key, value)
        after = all_settings()
        # Epochs of the Z-predictor are its own.
        expected = changed - {"inference"} if key.endswith("training.epochs") else changed
        assert {name for name in before if before[name] != after[name]} == expected

    def test_a_shared_dataset_does_not_depend_on_the_seeds(self, config):
        put(config, f"{SPIRALS}.data.resampled", False)
        assert configuration.data_settings(config, "spirals_radius")["seeds"] == []
        assert configuration.data_settings(config, "spirals_inverted")["seeds"] == list(range(20))

    def test_order_in_the_files_does_not_matter(self, config):
        def backwards(value):
            return {k: backwards(value[k]) for k in reversed(value)} if isinstance(value, dict) else value

        turned = backwards(config)
        for model in registry.models_for("spirals_radius"):
            once, again = (json.dumps(configuration.settings(c, "spirals_radius", model)) for c in (config, turned))
            assert once == again

    def test_settings_are_copies(self, config):
        before = copy.deepcopy(config)
        found = configuration.settings(config, "spirals_radius", "armed")
        found["training"]["epochs"] = 0
        found["network"]["hidden"].append(1)
        assert config == before


def test_parsing_is_quick():
    """A cluster job parses the workflow again. CPU time, as other processes may hold the cores; best of three."""
    code = (
        "import time; start = time.process_time(); from armed import config; "
        f"config.check(config.load([{str(DEFAULT)!r}])); print(time.process_time() - start)"
    )
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
        for _ in "abc"
    ]
    assert min(float(run.stdout) for run in runs) < 0.6  # of the second that the whole may take


class TestStandIns:
    """What changes where the user has the real ADNIMERGE.csv."""

    @pytest.fixture
    def both(self, config, tmp_path):
        """The configuration without the real table, and with one."""
        (tmp_path / "ADNIMERGE.csv").touch()
        real = copy.deepcopy(config)
        for study in ("mci_conversion", "mci_probes"):
            put(config, f"studies.{study}.data.path", str(tmp_path / "none.csv"))
            put(real, f"studies.{study}.data.path", str(tmp_path / "ADNIMERGE.csv"))
        return config, real

    def test_source_and_datasets(self, both):
        stand_in, real = both
        assert [configuration.source(c, "mci_conversion") for c in both] == ["stand-in", "restricted"]
        assert configuration.datasets(stand_in, "mci_conversion") == list(range(20))
        assert configuration.datasets(real, "mci_conversion") == [] == configuration.datasets(stand_in, "heart")
        put(stand_in, "studies.mci_conversion.data.resampled", False)
        assert configuration.datasets(stand_in, "mci_conversion") == [0]
        assert [configuration.source(c, s) for c in both for s in ("heart", "spirals_radius")] == [
            "open",
            "simulated",
        ] * 2

    def test_real_data_cannot_be_resampled(self, both):
        variants = [configuration.data_variants(c, "mci_conversion") for c in both]
        assert variants == [["main", "resampled", "reference_protocol"], ["main", "reference_protocol"]]
        stand_in, real = (configuration.data_settings(c, "mci_conversion") for c in both)
        assert stand_in["seeds"] == list(range(20)) and real["seeds"] == []
        assert configuration.data_variants(both[0], "mci_probes") == ["main", "resampled"]

    def test_the_recovery_study_needs_a_truth(self, both):
        stand_in, real = both
        found = configuration.recovery_settings(stand_in)
        assert list(found["models"]) == ["armed", "armed_no_adversary"] and found["subjects"] == [1, 4, 16]
        assert configuration.recovery_settings(real) is None
        put(stand_in, "run.models", ["conventional"])
        assert configuration.recovery_settings(stand_in) is None
        put(stand_in, "run.models", ["armed"])
        assert list(configuration.recovery_settings(stand_in)["models"]) == ["armed"]
        put(stand_in, "recovery", None)
        assert problems(stand_in) == [] and configuration.recovery_settings(stand_in) is None

    def test_the_paper_s_settings(self, config):
        """Those that the paper states for its dementia study."""
        block = config["studies"]["mci_conversion"]
        assert block["network"]["hidden"] == [4, 4, 4] and block["cluster_inference"]["hidden"] == [8, 8, 4]
        assert (block["folds"], block["tuning"]["inner_folds"], block["data"]["n_seen"]) == (10, 10, 20)
        training = {
            k: block["training"][k] for k in ("epochs", "patience", "monitor", "class_weights", "learning_rate")
        }
        assert training == {
            **{"epochs": 50, "patience": 5, "monitor": "auprc", "class_weights": "balanced", "learning_rate": 0.001}
        }
        armed, probes = block["settings"]["armed"], config["studies"]["mci_probes"]["settings"]
        assert (armed["slopes"], armed["adversary_units"]) == ("input", [8, 8, 4])
        assert [armed[k] for k in ("slope_prior_sd", "intercept_prior_sd", "lambda_K", "lambda_F", "lambda_g")] == [
            *(0.15, 0.1, 0.001, 1.0, 5.0)
        ]
        assert (probes["armed"]["lambda_g"], probes["armed"]["lambda_F"]) == (40.0, 0.5)
        assert probes["domain_adversarial"]["lambda_g"] == 10.0


def test_memory_of_fits_grows_with_images():
    default, paper = (configuration.load(files) for files in ([DEFAULT], [DEFAULT, DEFAULT.with_name("paper.yaml")]))
    assert {configuration.fit_memory_mb(default, study) for study in configuration.selected_studies(default)} == {2000}
    assert configuration.fit_memory_mb(paper, "spirals_radius") == 2000
    assert configuration.fit_memory_mb(paper, "live_cell") > 13_000  # 12.6 GB were seen


def test_fits_of_a_large_table_reserve_more_memory(tmp_path):
    table = tmp_path / "mine.csv"
    default = configuration.load([DEFAULT])
    default["studies"]["mine"] = default["own_study"] | {"data": default["own_study"]["data"] | {"path": str(table)}}
    assert configuration.fit_memory_mb(default, "mine") == 2000  # not there yet
    with table.open("wb") as file:
        file.truncate(10**9)
    assert configuration.fit_memory_mb(default, "mine") == 4500
