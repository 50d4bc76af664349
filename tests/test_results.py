"""Tables are written whole, read back as they were, and refused with all that is wrong with them."""

import os

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from armed import registry, results
from armed.errors import DataError, UnknownNameError
from armed.metrics import METRICS as COMPUTED
from armed.schemas import METRICS, PARQUET, REAL, TABLES, TEXT, VOCABULARY


def metric_rows(**changes):
    row = {
        "study": "spirals_radius",
        "source": "simulated",
        "seed": 0,
        "fold": 0,
        "model": "armed",
        "variant": "main",
        "partition": "seen",
        "metric": "accuracy",
        "value": 0.75,
        "n": 1000,
        "note": "",
    }
    return pd.DataFrame([row, row | {"fold": 1}]).assign(**changes)


def example(name, kind):
    names = {"study": "spirals_inverted", "model": "menet", "reference": "menet"}
    if kind == TEXT:
        return names.get(name, VOCABULARY.get(name, ["some text"])[0])
    return 0.1 + 0.2 if kind == REAL else 3


@pytest.mark.parametrize("name", [n for n in TABLES if n not in PARQUET])
def test_every_table_comes_back_as_it_was_written(name, tmp_path):
    schema = TABLES[name]
    row = {c: example(c, kind) for c, kind in schema.columns.items()}
    row |= {c: values[0] for c, values in schema.vocabulary.items()}
    frame = pd.DataFrame([row])
    results.write(name, frame[list(reversed(frame.columns))], tmp_path / f"{name}.tsv")
    back = results.read(name, tmp_path / f"{name}.tsv")
    assert list(back.columns) == list(schema.columns)
    assert back.iloc[0].to_dict() == row
    kinds = {"text": "str", "integer": "int64", "real": "float64"}
    assert {c: str(t) for c, t in back.dtypes.items()} == {c: kinds[k] for c, k in schema.columns.items()}


def test_what_image_studies_add_is_in_the_vocabulary(tmp_path):
    rows = metric_rows(metric="localisation", source="stand-in", note="chance 0.04")
    results.write("metrics", rows, tmp_path / "metrics.tsv")
    assert (results.read("metrics", tmp_path / "metrics.tsv")["metric"] == "localisation").all()
    row = {"study": "spirals_radius", "seed": 0, "fold": 0, "model": "armed", "variant": "main", "threshold": 0.4}
    results.write("thresholds", pd.DataFrame([row | {"chosen_on": "validation"}]), tmp_path / "thresholds.tsv")
    assert results.read("thresholds", tmp_path / "thresholds.tsv")["chosen_on"].item() == "validation"


@pytest.mark.parametrize("name", list(TABLES))
def test_tables_without_rows_keep_their_dtypes(name, tmp_path):
    empty = results.empty(name)
    assert list(empty.columns) == list(TABLES[name].columns)
    results.write(name, empty, tmp_path / "x")
    back = results.read(name, tmp_path / "x")
    assert len(back) == 0
    assert (back.dtypes == empty.dtypes).all()
    assert "object" not in {str(d) for d in back.dtypes}


@given(
    value=st.floats(allow_nan=False, allow_infinity=False),
    cluster=st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1),
)
def test_numbers_and_odd_cluster_names_survive(tmp_path_factory, value, cluster):
    path = tmp_path_factory.mktemp("t") / "c.tsv"
    frame = metric_rows(value=value, cluster=cluster)
    results.write("cluster_metrics", frame, path)
    back = results.read("cluster_metrics", path)
    assert back["cluster"].tolist() == [cluster] * 2
    assert back["value"].tolist() == [value] * 2


@pytest.mark.parametrize("cluster", ["NA", "nan", "null", "None", "007", "1e5", 'a"b', "'", "#x", " x "])
def test_cluster_names_that_look_like_something_else_stay_text(tmp_path, cluster):
    results.write("cluster_metrics", metric_rows(cluster=cluster), tmp_path / "c.tsv")
    assert results.read("cluster_metrics", tmp_path / "c.tsv")["cluster"].tolist() == [cluster] * 2


def test_undefined_values_need_a_reason(tmp_path):
    frame = metric_rows(value=np.nan, note="one class\n only")
    results.write("metrics", frame, tmp_path / "m.tsv")
    back = results.read("metrics", tmp_path / "m.tsv")
    assert back["value"].isna().all() and back["note"].tolist() == ["one class only"] * 2
    assert "\tNaN\t" in (tmp_path / "m.tsv").read_text()
    with pytest.raises(DataError, match="2 rows have value NaN and an empty note"):
        results.validate("metrics", metric_rows(value=np.nan))


def test_all_problems_are_told_at_once():
    frame = metric_rows(model="arned", metric="acuracy", source="made up", value=np.inf, variant="", fold=1)
    with pytest.raises(DataError) as caught:
        results.validate("metrics", frame)
    told = str(caught.value)
    assert told.startswith("6 problems with table 'metrics'")
    for part in (
        "'arned' is not known. Did you mean 'armed'?",
        "Did you mean 'accuracy'?",
        "'made up' is not known",
        "2 infinite values",
        "'variant' has empty text",
        "1 rows repeat the key of another",
    ):
        assert part in told


def test_wrong_columns_are_named():
    frame = metric_rows().rename(columns={"value": "vaule"}).drop(columns="n")
    with pytest.raises(DataError) as caught:
        results.validate("metrics", frame)
    for part in ("'value' is missing", "'n' is missing", "'vaule' is not in the schema. Did you mean 'value'?"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("seed", 0.5, "'seed' must be integer, and holds '0.5'"),
        ("seed", np.nan, "'seed' must be integer"),
        ("seed", "first", "'seed' must be integer"),
        ("value", "high", "'value' must be real"),
        ("model", None, "'model' has 2 missing values"),
        ("variant", "a\tb", "tab or line break"),
    ],
)
def test_wrong_dtypes_are_refused(column, value, message):
    with pytest.raises(DataError, match=message):
        results.validate("metrics", metric_rows(**{column: value}))


def test_whole_floats_are_integers():
    assert results.validate("metrics", metric_rows(seed=2.0))["seed"].tolist() == [2, 2]


def test_names_that_the_config_declares_are_allowed():
    frame = metric_rows(study="schools", model="my_method", source="own")
    with pytest.raises(DataError, match="2 problems"):
        results.validate("metrics", frame)
    assert len(results.validate("metrics", frame, studies=["schools"], models=["my_method"])) == 2


def test_a_refused_table_leaves_the_old_file(tmp_path):
    path = tmp_path / "m.tsv"
    results.write("metrics", metric_rows(), path)
    before = path.read_bytes()
    with pytest.raises(DataError):
        results.write("metrics", metric_rows(metric="none such"), path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["m.tsv"]


def test_unknown_tables_get_a_suggestion():
    with pytest.raises(UnknownNameError, match="Did you mean 'metrics'"):
        results.read("metric", "nowhere")


def test_the_vocabulary_holds_what_the_registry_and_the_metrics_use():
    for study in registry.STUDIES.values():
        assert set(study.metrics) <= set(METRICS)
        assert set(study.partitions) <= set(VOCABULARY["partition"])
        assert study.source in VOCABULARY["source"]
    assert set(COMPUTED) <= set(METRICS)


def prediction_rows(n_classes=2):
    rng = np.random.default_rng(0)
    base = {"sample_id": np.arange(6), "cluster": list("aabbcc"), "partition": "seen", "seed": 1, "fold": 2}
    frame = pd.DataFrame(base | {"variant": "main", "y_true": [0, 1, 0, 1, 0, 1]})
    outputs = [c for c in results.prediction_columns(n_classes) if c.startswith(("fixed", "mixed"))]
    return frame.assign(**{c: rng.normal(size=6) for c in outputs})


@pytest.mark.parametrize("n_classes", [2, 3, 5])
def test_predictions_are_float32_with_a_column_per_class(tmp_path, n_classes):
    frame = prediction_rows(n_classes)
    results.write("predictions", frame, tmp_path / "p.parquet")
    back = results.read("predictions", tmp_path / "p.parquet")
    assert list(back.columns) == results.prediction_columns(n_classes)
    assert {str(back[c].dtype) for c in back if c.startswith(("fixed", "mixed", "y_"))} == {"float32"}
    assert back["sample_id"].tolist() == [str(i) for i in range(6)]
    expected = frame[[c for c in frame if c.startswith("mixed")]].to_numpy(np.float32).squeeze()
    np.testing.assert_array_equal(results.outputs(back), expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.drop(columns="fixed_1"), "'fixed_1' is missing"),
        (lambda f: f.assign(y_true=np.nan), "'y_true' has 6 NaN values"),
        (lambda f: f.assign(sample_id="s"), "5 rows repeat the key"),
        (lambda f: f.assign(partition="test"), "'test' is not known"),
    ],
)
def test_wrong_predictions_are_refused(change, message):
    with pytest.raises(DataError, match=message):
        results.validate("predictions", change(prediction_rows(3)))


def test_parts_put_together_are_the_table_written_at_once(tmp_path):
    parts = [metric_rows(seed=0, value=0.1 + 0.2), metric_rows(seed=1), metric_rows(seed=2, note="chance 0.1")]
    paths = [tmp_path / f"{i}.tsv" for i in range(4)]
    for path, part in zip(paths, [*parts, results.empty("metrics")], strict=True):
        results.write("metrics", part, path)
    results.concatenate("metrics", paths, tmp_path / "put_together.tsv")
    results.write("metrics", pd.concat(parts), tmp_path / "at_once.tsv")
    assert (tmp_path / "put_together.tsv").read_bytes() == (tmp_path / "at_once.tsv").read_bytes()
    results.concatenate("metrics", [], tmp_path / "none.tsv")
    assert results.read("metrics", tmp_path / "none.tsv").empty


def test_parts_of_another_table_are_refused(tmp_path):
    results.write("metrics", metric_rows(), tmp_path / "part.tsv")
    with pytest.raises(DataError, match=r"part\.tsv has the columns study, source.*expected study, seed"):
        results.concatenate("thresholds", [tmp_path / "part.tsv"], tmp_path / "thresholds.tsv")
    assert not (tmp_path / "thresholds.tsv").exists()


@pytest.mark.parametrize(
    "damage", [lambda whole: b"", lambda whole: whole[: len(whole) // 2], lambda whole: b"\xff\xfe" + whole]
)
@pytest.mark.parametrize("name", ["metrics", "predictions"])
def test_damaged_files_are_told(name, damage, tmp_path):
    path = tmp_path / name
    results.write(name, {"metrics": metric_rows, "predictions": prediction_rows}[name](), path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=rf"{name}"):
        results.read(name, path)


def test_a_flipped_bit_of_a_parquet_table_changes_nothing_unnoticed(tmp_path):
    """Without checksums of its pages most of these would be read as other numbers."""
    whole = tmp_path / "whole.parquet"
    results.write("predictions", prediction_rows(), whole)
    content, frame, noticed = whole.read_bytes(), results.read("predictions", whole), 0
    for place in range(4, len(content) // 4, 7):
        flipped = bytearray(content)
        flipped[place] ^= 1
        (tmp_path / "flipped.parquet").write_bytes(flipped)
        try:
            pd.testing.assert_frame_equal(results.read("predictions", tmp_path / "flipped.parquet"), frame)
        except DataError:
            noticed += 1
    assert noticed > 10
