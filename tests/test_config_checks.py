"""Every kind of problem that a configuration can have."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
from config_edits import DEFAULT, OVERLAYS, SPIRALS, problems, put
from jsonschema import Draft202012Validator

from armed import config as configuration
from armed import config_checks, registry, schemas
from armed.candidates import SCALES, SEARCHES
from armed.errors import ConfigError
from armed.sweep_config import FACTORS
from armed.tuning import POLICIES


@pytest.fixture
def config() -> dict:
    return configuration.load(DEFAULT)


CELLS = "studies.live_cell"


class TestSchema:
    def test_is_a_schema(self):
        Draft202012Validator.check_schema(config_checks.schema())

    @pytest.mark.parametrize("overlay", [None, *OVERLAYS], ids=lambda p: p.stem if p else "default")
    def test_accepts_what_is_shipped(self, overlay):
        assert problems(configuration.load([DEFAULT, overlay] if overlay else DEFAULT)) == []

    def test_closed_and_described_everywhere(self):
        open_blocks, undescribed = [], []

        def walk(rule, where):
            if "object" in rule.get("type", ()) and rule.get("additionalProperties") is not False:
                open_blocks.append(where)
            for key, sub in {**rule.get("properties", {}), **rule.get("patternProperties", {})}.items():
                if not sub.get("description"):
                    undescribed.append(f"{where}.{key}")
                walk(sub, f"{where}.{key}")

        walk(config_checks.schema(), "")
        assert (open_blocks, undescribed) == ([], [])

    def test_has_every_study_and_model_of_the_registry(self):
        schema = config_checks.schema()["properties"]
        studies = schema["studies"]["properties"]
        assert set(studies) == set(registry.STUDIES)
        for study, rule in studies.items():
            blocks = rule["properties"]
            models = registry.models_for(study)
            assert set(blocks["settings"]["properties"]) == set(blocks["variants"]["properties"]) == set(models)
            tunable = {m for m in models if registry.model(m).tunable}
            assert set(blocks["tuning"]["properties"]["space"]["properties"]) == tunable
        run = schema["run"]["properties"]
        assert run["studies"]["items"]["enum"] == list(registry.STUDIES)
        assert run["models"]["items"]["enum"] == list(registry.MODELS)

    def test_names_of_searches_and_policies_are_those_there_are(self):
        block = next(iter(config_checks.schema()["properties"]["studies"]["properties"].values()))
        tuning = block["properties"]["tuning"]["properties"]
        assert tuning["search"]["enum"] == list(SEARCHES)
        assert tuning["policy"]["enum"] == list(POLICIES) == list(schemas.table("tuning").vocabulary["policy"])
        scales = tuning["space"]["properties"]["armed"]["properties"]["lambda_g"]["properties"]["scale"]["enum"]
        assert tuple(scales) == SCALES

    def test_names_no_registry_list_itself(self):
        """The file leaves studies, and lists of models, to the registry."""
        raw = config_checks.parse_yaml(config_checks.SCHEMA.read_text())
        assert raw["properties"]["run"]["properties"]["models"]["items"] == {"x-enum": "models"}


TUNING = f"{SPIRALS}.tuning"
CONFOUNDED = "studies.spirals_confounded"
GRID = {"learning_rate": [0.001, 0.002, 0.003], "prior_sd": [0.1, 0.2, 0.4, 0.5, 0.6, 0.7]}
WRONG_VALUES = [
    (f"{TUNING}.models", ["mixedlm"], "is 'mixedlm', but one of conventional"),
    (f"{TUNING}.models", ["armed_no_adversry"], "Did you mean 'armed_no_adversary'?"),
    (f"{TUNING}.models", "armed", "is 'armed', but a list (each entry one of"),
    (f"{TUNING}.policy", "best", "is 'best', but one of best_mean, one_se was expected. Did you mean 'best_mean'?"),
    (f"{TUNING}.search", "gird", "Did you mean 'grid'?"),
    (f"{TUNING}.candidates", 0, "is 0, but a whole number of at least 1 was expected."),
    (f"{TUNING}.inner_folds", 1, "is 1, but a whole number of at least 2 was expected."),
    (
        f"{TUNING}.space.armed.lambda_g",
        1,
        "is 1, but a non-empty list (each entry a number of at least 0), a block of low",
    ),
    (f"{TUNING}.space.armed.lambda_g", [], "is [], but a non-empty list"),
    (f"{TUNING}.space.armed.lambda_g", [1, -1], "lambda_g[1] is -1, but a number of at least 0 was expected."),
    (f"{TUNING}.space.menet.prior_sd.low", 0, "prior_sd.low is 0, but a number above 0 was expected."),
    (f"{TUNING}.space.menet.prior_sd.scale", "lin", "Did you mean 'linear'?"),
    (f"{TUNING}.space.menet.prior_sd", {"low": 1.0, "high": 2.0}, "prior_sd.scale is missing, but one of log, linear"),
    ("sweeps.datasets", 1, "is 1, but a whole number of at least 2 was expected."),
    ("sweeps.prior_scale", [0], "prior_scale[0] is 0, but a number above 0 was expected."),
    ("sweeps.n_clusters", [1.5], "n_clusters[0] is 1.5, but a whole number of at least 2"),
    ("sweeps.ratio_sd", [0.1, 0.1], "lists 0.1 more than once"),
    (f"{SPIRALS}.variants.conventional", {"x": {"shared_init": 1}}, "x.shared_init is 1, but true or false"),
    (f"{SPIRALS}.variants.mixedlm", {"x": {"shared_init": True}}, "x.shared_init is an unknown key"),
    ("device", "gpu", "is 'gpu', but one of cpu, cuda was expected. Did you mean 'cuda'?"),
    ("run.models", ["armd"], "run.models[0] is 'armd', but one of conventional"),
    ("run.models", ["armd"], "Did you mean 'armed'?"),
    ("run.models", [], "is [], but a non-empty list (each entry one of"),
    ("run.models", ["armed", "armed"], "lists 'armed' more than once"),
    ("run.studies", "spirals_radius", "is 'spirals_radius', but a non-empty list"),
    ("run.collect", "availble", "Did you mean 'available'?"),
    ("statistics.confidence", 1, "is 1, but a number above 0 and below 1 was expected."),
    ("statistics.tolerance", float("nan"), "is NaN, but a number of at least 0 was expected."),
    (f"{SPIRALS}.seeds", 0, "is 0, but a whole number of at least 1 was expected."),
    (f"{SPIRALS}.seeds", 20.0, "is 20.0, but a whole number"),
    (f"{SPIRALS}.seeds", True, "is true, but a whole number"),
    (f"{SPIRALS}.seeds", "20", "It is text: write 20 without quotes."),
    (f"{SPIRALS}.seeds", "1e2", "It is text: write 100 without quotes."),
    (f"{SPIRALS}.folds", 1, "is 1, but a whole number of at least 2 was expected."),
    (f"{SPIRALS}.data", None, "An empty key replaces the whole block"),
    (
        f"{SPIRALS}.data.dataset_seed",
        2**32,
        "a whole number of at least 0 and of at most 4294967295 or null was expected",
    ),
    (f"{SPIRALS}.data.radius_mean", float("inf"), "is Infinity, but a number was expected."),
    (f"{SPIRALS}.data.noise", "0.1", "It is text: write 0.1 without quotes."),
    (f"{SPIRALS}.data.noise", "much", "is 'much', but a number of at least 0 was expected."),
    (f"{SPIRALS}.network.hidden", [], "is [], but a non-empty list (each entry a whole number of at least 1)"),
    (f"{SPIRALS}.network.hidden", [4, 0], "network.hidden[1] is 0, but a whole number of at least 1"),
    (f"{SPIRALS}.training.learning_rate", "1e-5", "YAML 1.1 reads it as text: write 1.0e-5."),
    (f"{SPIRALS}.training.learning_rate", "2.5E+3", "write 2.5e+3."),
    (f"{SPIRALS}.cluster_inference.validation_fraction", 0, "is 0, but a number above 0 and below 1"),
    (f"{SPIRALS}.settings.mldg.order", "third", "is 'third', but one of first, second"),
    (f"{SPIRALS}.settings.mldg.label_defect", "no", "is 'no', but true or false"),
    (f"{SPIRALS}.settings.mixedlm.slopes", "al", "is 'al', but 'all', a non-empty list (each entry text) or null"),
    (f"{SPIRALS}.settings.armed.lambda_F", -1, "is -1, but a number of at least 0"),
    (f"{SPIRALS}.settings.armed.slope_prior_sd", 0, "is 0, but a number above 0"),
    (f"{SPIRALS}.settings.armed.adversary_units", [], "is [], but a non-empty list (each entry"),
    (f"{SPIRALS}.variants.armed", {"wide": {"slope_prior_sd": 0}}, "variants.armed.wide.slope_prior_sd is 0, but"),
    (f"{SPIRALS}.variants.armed", {"a-b": {}}, "variants.armed.a-b names a variant, but a letter"),
]


class TestWrongValues:
    @pytest.mark.parametrize(("key", "value", "told"), WRONG_VALUES)
    def test_value(self, config, key, value, told):
        put(config, key, value)
        found = problems(config)
        assert len(found) == 1, found
        assert found[0].startswith(key) and told in found[0]

    @pytest.mark.parametrize(
        ("key", "near"),
        [
            ("run.modles", "models"),
            ("statistic", "statistics"),
            ("studies.spirals_radios", "spirals_radius"),
            (f"{SPIRALS}.seed", "seeds"),
            (f"{SPIRALS}.data.radius_std", "radius_sd"),
            (f"{SPIRALS}.settings.armed.lambda_f", "lambda_F"),
            (f"{SPIRALS}.settings.armedd", "armed"),
            (f"{SPIRALS}.variants.mldgg", "mldg"),
            (f"{TUNING}.space.armed.lambda_f", "lambda_F"),
            (f"{TUNING}.space.armedd", "armed"),
        ],
    )
    def test_unknown_key(self, config, key, near):
        put(config, key, {})
        (found,) = problems(config)
        assert found.startswith(f"{key} is an unknown key. Did you mean '{near}'? Expected one of ")

    def test_unknown_key_in_a_block_without_keys(self, config):
        put(config, f"{SPIRALS}.settings.conventional.lambda_F", 1.0)
        assert problems(config) == [
            f"{SPIRALS}.settings.conventional.lambda_F is an unknown key. No keys are expected there."
        ]

    def test_unknown_setting_of_a_variant(self, config):
        put(config, f"{SPIRALS}.variants.mldg.mine", {"oder": "first"})
        (found,) = problems(config)
        assert found.startswith(f"{SPIRALS}.variants.mldg.mine.oder is an unknown key. Did you mean 'order'?")

    def test_missing_key(self, config):
        del config["studies"]["spirals_radius"]["data"]["noise"]
        assert problems(config) == [f"{SPIRALS}.data.noise is missing, but a number of at least 0 was expected."]

    def test_key_that_is_no_text(self, config):
        config["run"][1] = "armed"
        (found,) = problems(config)
        assert found.startswith("run.1 is an unknown key.")

    def test_yaml_number_that_is_text(self, tmp_path):
        overlay = tmp_path / "mine.yaml"
        overlay.write_text("studies: {spirals_radius: {settings: {armed: {lambda_K: 1e-5}}}}")
        (found,) = problems(configuration.load([DEFAULT, overlay]))
        assert found.endswith("write 1.0e-5.")

    def test_all_problems_at_once(self, config):
        put(config, "device", "gpu")
        put(config, "run.models", ["armd", "armed_randomized_z"])
        put(config, f"{SPIRALS}.seeds", 2)
        put(config, f"{SPIRALS}.data.noise", -1)
        found = problems(config)
        assert len(found) == 5
        assert found[-1] == f"{SPIRALS}.slow_seeds is 3, but at most {SPIRALS}.seeds, 2, was expected."
        with pytest.raises(ConfigError, match="5 problems with the configuration"):
            configuration.check(config)

    def test_leaves_the_configuration_alone(self, config):
        put(config, "run.models", ["armd"])
        before = copy.deepcopy(config)
        assert problems(config)
        assert config == before


class TestConsistency:
    @pytest.mark.parametrize(
        ("changes", "told"),
        [
            ({f"{SPIRALS}.slow_seeds": 21}, "slow_seeds is 21, but at most"),
            ({f"{SPIRALS}.folds": 1001}, "folds is 1001, but at most"),
            ({f"{CELLS}.test_fraction": None}, "folds is 1, but at least 2 was expected"),
            ({f"{CELLS}.data.image_size": 60}, "image_size is 60, but a multiple of 8 was expected"),
            ({f"{CELLS}.network.strided": 7}, "strided is 7, but at most 6, the number of filters"),
            (
                {f"{CELLS}.settings.armed.adversary_filters": [4]},
                "adversary_filters has 1 numbers, but 6 were expected",
            ),
            ({f"{CELLS}.settings.armed.slopes": "classifier.hiden"}, "Did you mean 'classifier.hidden'?"),
            ({"studies.spirals_inverted.data.resampled": True}, "every seed already has a dataset of its own"),
            (
                {"studies.spirals_inverted.data.resampled": True, "studies.spirals_inverted.data.dataset_seed": 1},
                "'spirals_inverted' has no variant 'resampled'",
            ),
            (
                {"studies.spirals_confounded.data.n_per_unseen_cluster": 51},
                "n_per_unseen_cluster is 51, but an even number was expected",
            ),
            (
                {"run.models": ["conventional", "armed_randomized_z"]},
                "'armed', whose trained weights it uses, was expected",
            ),
            (
                {f"{SPIRALS}.settings.armed.slopes": "hidden.3"},
                "is 'hidden.3', but input, hidden.0, hidden.1, hidden.2 or null",
            ),
            ({f"{SPIRALS}.settings.armed.slopes": "hiden.1"}, "Did you mean 'hidden.1'?"),
            (
                {f"{SPIRALS}.variants.armed": {"deep": {"slopes": "hidden.9"}}},
                "variants.armed.deep.slopes is 'hidden.9'",
            ),
            (
                {f"{SPIRALS}.settings.armed.adversary_units": None, f"{SPIRALS}.tuning.models": []},
                "lambda_g is 0.5, but 0 was expected",
            ),
            ({f"{SPIRALS}.settings.armed_no_adversary.lambda_g": 0.5}, "'armed_no_adversary' has no adversary"),
            ({f"{SPIRALS}.settings.mldg.meta_test_clusters": 10}, "a cluster must be left to train on"),
            ({f"{SPIRALS}.variants.armed": {"main": {}}}, "variants.armed.main uses a taken name"),
            ({f"{SPIRALS}.variants.armed": {"resampled": {}}}, "variants.armed.resampled uses a taken name"),
            ({f"{SPIRALS}.variants.armed": {"tuned": {}}}, "variants.armed.tuned uses a taken name"),
            (
                {"sweeps.folds": 11},
                "sweeps.folds is 11, but at most studies.spirals_confounded.folds, 10, was expected",
            ),
            ({f"{CONFOUNDED}.folds": 60}, "sweeps.n_per_cluster has 50, but at least"),
            ({f"{CONFOUNDED}.data.dataset_seed": 1}, "sweeps compare datasets of their own for each seed"),
            ({f"{CONFOUNDED}.data.n_probes": 0}, "sweeps tell when a probe is taken for a feature"),
            (
                {f"{CONFOUNDED}.settings.armed.adversary_units": None, f"{CONFOUNDED}.settings.armed.lambda_g": 0.0},
                "sweeps.lambda_g is given, but [] was expected",
            ),
            ({f"sweeps.{factor}": [] for factor in FACTORS}, "sweeps has no level of any factor"),
            (
                {f"{TUNING}.seeds": 21},
                "tuning.seeds is 21, but at most studies.spirals_radius.seeds, 20, was expected.",
            ),
            ({f"{TUNING}.metric": "aurco"}, "Did you mean 'auroc'?"),
            ({f"{TUNING}.metric": "within_cluster_auroc"}, "a metric that the study has for each fold was expected"),
            ({f"{TUNING}.inner_folds": 901}, "inner_folds is 901, but at most 900 was expected"),
            ({f"{TUNING}.space.armed": {}}, "space.armed has no hyperparameter to search"),
            ({f"{TUNING}.space.lmmnn.initial_sd.low": 2}, "lmmnn.initial_sd goes from 2 to 1, but low below high was"),
            (
                {f"{TUNING}.space.mldg.meta_weight.low": 0},
                "mldg.meta_weight starts at 0, but a number above 0 was expected",
            ),
            ({f"{SPIRALS}.settings.armed.slopes": None}, "space.armed.slope_prior_sd is given, but null was expected"),
            (
                {f"{TUNING}.models": ["menet"], f"{TUNING}.search": "grid", f"{TUNING}.space.menet": GRID},
                "space.menet has 19 settings (3 x 6 and the default), but at most 16",
            ),
            (
                {
                    f"{TUNING}.models": ["lmmnn"],
                    f"{TUNING}.search": "grid",
                    f"{TUNING}.space.lmmnn.learning_rate": [0.1],
                },
                "space.lmmnn.initial_sd is a range, but a list of values was expected",
            ),
        ],
    )
    def test_between_keys(self, config, changes, told):
        for key, value in changes.items():
            put(config, key, value)
        (found,) = problems(config)
        assert told in found

    def test_sweeps_that_are_not_run_are_not_judged(self, config):
        put(config, "sweeps.folds", 11)
        for key, value in (("run.studies", ["spirals_radius"]), ("run.models", ["conventional"])):
            whole, config["run"][key[4:]] = config["run"][key[4:]], value
            assert problems(config) == []
            config["run"][key[4:]] = whole
        put(config, "sweeps", None)
        assert problems(config) == []

    def test_shorter_network_moves_the_last_layer(self, config):
        put(config, f"{SPIRALS}.network.hidden", [4, 4])  # told once, not again for each variant
        assert [p.split(" is ")[0] for p in problems(config)] == [
            f"{SPIRALS}.settings.armed.slopes",
            f"{SPIRALS}.settings.armed_no_adversary.slopes",
        ]

    def test_selected_study_without_block(self, config):
        del config["studies"]["spirals_radius"]
        assert problems(config) == [
            f"{SPIRALS} is missing, but a block was expected: run.studies selects 'spirals_radius'."
        ]

    def test_empty_block_is_told_once(self, config):
        config["studies"]["spirals_radius"] = None
        (found,) = problems(config)
        assert found.startswith(f"{SPIRALS} is null, but a block of keys was expected.")

    def test_selected_model_without_block(self, config):
        del config["studies"]["spirals_radius"]["settings"]["lmmnn"]
        (found,) = problems(config)
        assert found.startswith(f"{SPIRALS}.settings.lmmnn is missing")

    def test_unselected_needs_no_block(self, config):
        put(config, "run.models", ["conventional"])
        put(config, "run.studies", ["spirals_radius"])
        del config["studies"]["spirals_inverted"], config["studies"]["spirals_radius"]["settings"]["lmmnn"]
        assert problems(config) == []

    def test_model_and_study_that_do_not_meet(self, config, monkeypatch):
        elsewhere = replace(registry.MODELS["mldg"], studies=("spirals_inverted",))
        monkeypatch.setitem(registry.MODELS, "mldg", elsewhere)
        put(config, "run.studies", ["spirals_radius"])
        put(config, "run.models", ["mldg"])
        (problem,) = problems(config)
        assert problem.startswith(
            "run.models has no model for study 'spirals_radius', but at least one was expected of"
        )
        assert "mldg" not in problem and "armed_no_adversary" in problem

    def test_models_that_no_selected_study_has_are_left_out(self, config):
        put(config, "run.studies", ["spirals_radius"])
        put(config, "run.models", ["conventional", "cluster_input_plus"])
        assert problems(config) == []
        assert configuration.selected_models(config, "spirals_radius") == ["conventional"]

    def test_settings_of_a_model_that_does_not_apply(self, config):
        put(config, f"{SPIRALS}.settings.cluster_input_plus", {})
        (problem,) = problems(config)
        assert problem.startswith(f"{SPIRALS}.settings.cluster_input_plus is an unknown key.")
