"""Studies that the user declares: defaults, checks, and a place in the registry."""

from __future__ import annotations

import copy

import pytest
from config_edits import DEFAULT, problems, put

from armed import config as configuration
from armed import own_studies, registry
from armed.errors import UnknownNameError

OWN = "studies.vaccines.data"


@pytest.fixture
def declared(tmp_path):
    """The default configuration with a study on a small table; the registry forgets it again."""
    path = tmp_path / "children.csv"
    path.write_text("immun,comm,age\nY,1,2\n", encoding="utf-8")
    config = configuration.load(DEFAULT)
    data = {"path": str(path), "label": "immun", "positive": "Y", "cluster": "comm", "unseen": 3}
    config["studies"]["vaccines"] = {"data": data, "training": {"epochs": 7}}
    config["run"]["studies"] = ["vaccines"]
    yield config
    registry.STUDIES.pop("vaccines", None)


def test_defaults_are_those_of_own_study(declared):
    configuration.complete(declared)
    block, defaults = declared["studies"]["vaccines"], configuration.load(DEFAULT)["own_study"]
    assert block["training"] == {**defaults["training"], "epochs": 7} and block["folds"] == defaults["folds"]
    assert block["data"]["kind"] == "binary" and block["data"]["drop"] == []
    before = copy.deepcopy(declared)
    configuration.complete(declared)  # as each job of a cluster does again
    assert declared == before


def test_the_registry_knows_it_once_declared(declared):
    with pytest.raises(UnknownNameError):
        registry.study("vaccines")
    configuration.complete(declared)
    entry = registry.study("vaccines")
    assert (entry.source, entry.kind, entry.label) == ("own", "binary", "Vaccines")
    assert entry.partitions == ("seen", "unseen", "unseen_population") and entry.threshold == "train"
    assert configuration.selected_models(declared, "vaccines") == registry.models_for("vaccines")
    assert "cluster_input_plus" not in registry.models_for("vaccines")  # for images
    settings = configuration.settings(declared, "vaccines", "armed")
    assert settings["kind"] == "binary" and settings["preparation"] == ["standardise"]


@pytest.mark.parametrize(
    ("kind", "metric", "without"),
    [("continuous", "mse", {"mixed_logit"}), ("multiclass", "auroc", {"mixed_logit", "mixedlm"})],
)
def test_models_and_metrics_follow_the_label(declared, kind, metric, without):
    for key, value in {"kind": kind, "positive": None, "unseen": 0, "title": "My study"}.items():
        put(declared, f"{OWN}.{key}", value)
    configuration.complete(declared)
    entry = registry.study("vaccines")
    assert entry.metrics[0] == metric and entry.partitions == ("seen",) and entry.label == "My study"
    left_out = set(registry.MODELS) - set(configuration.selected_models(declared, "vaccines"))
    assert without <= left_out and not left_out & {"conventional", "armed"}
    assert ("standardise_label" in entry.preparation) == (kind == "continuous")


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        (f"{OWN}.label", None, f"{OWN}.label is null, but the name of a column of the table was expected."),
        (f"{OWN}.kind", "ordinal", f"{OWN}.kind is 'ordinal', but one of binary, multiclass, continuous was expected."),
        (f"{OWN}.lable", "immun", f"{OWN}.lable is an unknown key. Did you mean 'label'?"),
        (f"{OWN}.drop", ["comm"], f"{OWN}.drop lists 'comm', but it is the cluster."),
        (f"{OWN}.features", ["immun"], f"{OWN}.features lists 'immun', but no feature was expected that is the label."),
        (f"{OWN}.unseen", -1, f"{OWN}.unseen is -1, but a whole number of at least 0"),
        (
            "studies.vaccines.training.monitor",
            "f1",
            "training.monitor is 'f1', but one of loss, auprc, auroc was expected.",
        ),
        ("studies.vaccines.validation_fraction", 0.0, "nothing is held out to stop training by."),
    ],
)
def test_what_is_wrong_is_told(declared, key, value, told):
    put(declared, key, value)
    assert any(told in sentence for sentence in problems(declared)), problems(declared)


def test_a_table_that_is_not_there(declared, tmp_path):
    put(declared, f"{OWN}.path", str(tmp_path / "childern.csv"))
    (sentence,) = problems(declared)
    assert "a file was expected" in sentence and "Did you mean 'children.csv'?" in sentence


def test_a_misspelt_study_is_no_study_of_ones_own(declared):
    declared["studies"]["spirals_radus"] = {"seeds": 3}
    (sentence,) = problems(declared)
    assert sentence.startswith("studies.spirals_radus is an unknown key. Did you mean 'spirals_radius'?")


def test_studies_of_the_benchmark_cannot_be_replaced():
    with pytest.raises(UnknownNameError, match="another name"):
        registry.declare(registry.STUDIES["heart"])


def test_only_what_says_where_its_table_is():
    config = {
        "studies": {"a": {"data": {"path": "a.csv"}}, "b": {"data": {}}, "c": None, "heart": {"data": {"path": "x"}}}
    }
    assert own_studies.names(config) == ["a"] and own_studies.names({"studies": 3}) == []


class TestImages:
    """A study whose data say how large its images are is one of images."""

    @pytest.fixture
    def plates(self, declared, tmp_path):
        table = tmp_path / "plates.csv"
        table.write_text("path,label,cluster,group\na.png,1,p1,s1\n", encoding="utf-8")
        declared["studies"]["plates"] = {"data": {"path": str(table), "image_size": 48, "unseen": 1}}
        declared["run"]["studies"] = ["vaccines", "plates"]
        yield declared
        registry.STUDIES.pop("plates", None)

    def test_it_has_the_networks_and_methods_of_images(self, plates):
        configuration.complete(plates)
        block = plates["studies"]["plates"]
        assert block["network"] == plates["own_images"]["network"] and block["data"]["group"] == "group"
        entry = registry.study("plates")
        assert (entry.raw, entry.data, entry.preparation) == ("own_images", "armed.data.own_images:make", ())
        models = registry.models_for("plates")
        assert "cluster_input_plus" in models and not {"mixedlm", "mixed_logit"} & set(models)
        assert registry.listed("plates") == "own_images" and registry.listed("vaccines") == "own"

    @pytest.mark.parametrize(
        ("key", "value", "told"),
        [
            ("image_size", 8, "image_size is 8"),
            ("features", ["a"], "studies.plates.data.features"),
            ("positive", "x", "null was expected for continuous labels"),
            ("path", "absent.csv", "a file was expected"),
        ],
    )
    def test_what_cannot_be(self, plates, key, value, told):
        put(plates, f"studies.plates.data.{key}", value)
        if key == "positive":
            put(plates, "studies.plates.data.kind", "continuous")
        assert any(told in sentence for sentence in problems(plates))
