"""Clustered data and study data: checks, selection, files."""

import logging
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from armed.data.clustered import ClusteredData, check
from armed.data.study import Remarks, StudyData
from armed.errors import DataError, UnknownNameError


def table(n=12, **changes):
    rng = np.random.default_rng(0)
    fields = {
        "X": rng.normal(size=(n, 2)),
        "y": np.arange(n) % 2,
        "clusters": np.array(["a", "b", "c"])[np.arange(n) // 2 % 3],
    }
    return fields | changes


def test_defaults_fill_in_names_ids_and_subjects():
    data = ClusteredData(**table(clusters=np.arange(12) // 4))
    assert data.feature_names == ("x1", "x2")
    assert data.clusters.dtype.kind == "U" and data.levels.tolist() == ["0", "1", "2"]
    np.testing.assert_array_equal(data.sample_id, np.arange(12))
    np.testing.assert_array_equal(data.subject, data.sample_id)
    assert len(data) == 12 and data.is_classification


def test_float_outcomes_are_continuous():
    data = ClusteredData(**table(y=np.linspace(0, 1, 12, dtype=np.float32)))
    assert not data.is_classification and data.y.dtype == np.float64


def test_all_problems_come_in_one_error():
    X = np.zeros((12, 2))
    X[:3, 1], X[4, 0] = np.nan, np.inf
    with pytest.raises(DataError) as error:
        check(
            X,
            np.zeros(12, dtype=int),
            np.array(["a"] * 11 + [None], dtype=object),
            feature_names=("age", "dose"),
            sample_id=np.zeros(12, dtype=int),
            where="the training data",
        )
    message = str(error.value)
    assert message.startswith("5 problems with the training data:")
    assert "infinite values in: age (1)" in message
    assert "NaN values in: dose (3); impute them first" in message
    assert "one class only (label 0 in all 12 samples)" in message
    assert "clusters is missing for 1 samples" in message
    assert "sample_id is not unique: 11 repeated, such as 0" in message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"clusters": np.array(["a"] * 11)}, "lengths differ: X 12, y 12, clusters 11"),
        ({"X": np.zeros(12)}, "reshape one feature to"),
        ({"X": np.array([["a", "b"]] * 12)}, "X is not numeric"),
        ({"y": np.array(["yes", "no"] * 6)}, "encode other labels first"),
        ({"y": np.array([-1, 1] * 6)}, "negative labels, lowest -1"),
        ({"y": np.where(np.arange(12) == 3, np.nan, 0.5)}, "y has 1 NaN or infinite"),
        ({"y": np.zeros((12, 1), dtype=int)}, r"y has shape \(12, 1\)"),
        ({"feature_names": ("age",)}, "1 feature names for 2 columns"),
        ({"feature_names": ("age", "age")}, "occur more than once: age"),
        ({"dataset": np.full(12, 0.5)}, "dataset is of type float64"),
        ({"X": np.full((12, 4, 4), np.nan)}, "X has 192 NaN values"),
    ],
)
def test_bad_data_is_refused_when_made(changes, message):
    with pytest.raises(DataError, match=message):
        ClusteredData(**table(**changes))


def test_no_samples_is_refused():
    with pytest.raises(DataError, match="no samples"):
        ClusteredData(np.zeros((0, 2)), np.zeros(0, dtype=int), np.zeros(0, dtype=str))


def test_what_can_be_predicted_but_not_fitted():
    one_class = ClusteredData(**table(y=np.ones(12, dtype=int)))
    with pytest.raises(DataError, match="one class only"):
        one_class.check()
    with pytest.raises(DataError, match=r"labels 0, 2; expected 0\.\.1 without gaps"):
        ClusteredData(**table(y=np.array([0, 2] * 6))).check()
    with pytest.raises(DataError, match="y is 3 in every sample"):
        ClusteredData(**table(y=np.full(12, 3.0))).check()


def test_missing_values_only_where_allowed_and_infinite_never():
    fields = table()
    fields["X"][0, 0] = np.nan
    ClusteredData(**fields, allow_missing=True).check()
    with pytest.raises(DataError, match=r"x1 \(1\)"):
        ClusteredData(**fields)
    fields["X"][0, 0] = np.inf
    with pytest.raises(DataError, match="infinite"):
        ClusteredData(**fields, allow_missing=True)


def test_a_cluster_of_one_sample_is_a_logged_warning(caplog):
    clusters = np.array(["a"] * 5 + ["lonely"] + ["b"] * 6)
    data = ClusteredData(**table(clusters=clusters))
    with caplog.at_level(logging.WARNING):
        data.check()
    assert "lonely" in caplog.text
    caplog.clear()
    # Two samples, but each in a dataset of its own: still nothing to learn from.
    dataset = np.repeat([0, 1], 6)
    ClusteredData(**table(clusters=np.array((["a"] * 5 + ["b"]) * 2), dataset=dataset)).check()
    assert "one sample" in caplog.text


def test_take_keeps_order_and_everything_else():
    data = ClusteredData(**table(sample_id=np.array([f"s{i}" for i in range(12)])))
    part = data.take(np.array([5, 1]))
    assert part.sample_id.tolist() == ["s5", "s1"] and len(part) == 2
    np.testing.assert_array_equal(part.X, data.X[[5, 1]])
    assert part.feature_names == data.feature_names


def test_codes_are_positions_in_the_levels_given():
    data = ClusteredData(**table())
    codes = data.codes(["c", "a"])
    assert codes.dtype == np.int64
    expected = {"a": 1, "b": -1, "c": 0}
    assert codes.tolist() == [expected[c] for c in data.clusters]
    with pytest.raises(DataError, match="more than once: a"):
        data.codes(["a", "a"])


def test_rows_of_a_dataset():
    one = ClusteredData(**table())
    np.testing.assert_array_equal(one.rows_of(7), np.arange(12))
    two = ClusteredData(**table(dataset=np.repeat([3, 5], 6)))
    np.testing.assert_array_equal(two.rows_of(5), np.arange(6, 12))
    np.testing.assert_array_equal(two.rows_of(None), np.arange(12))
    with pytest.raises(DataError, match=r"no dataset 4 .* datasets 3, 5"):
        two.rows_of(4)


def study():
    fields = table(sample_id=np.array([f"s{i}" for i in range(12)]))
    fields["X"][0, 0] = np.nan
    seen = ClusteredData(**fields, allow_missing=True)
    images = ClusteredData(np.zeros((4, 3, 3), dtype=np.float32), np.arange(4) / 4, np.array(list("xxyy")))
    truth = pd.DataFrame({"variant": ["main"], "dataset": [0], "part": ["seen"], "cluster": ["a"]})
    return StudyData({"main": {"seen": seen}, "resampled": {"seen": images}}, truth.assign(radius=1.5))


def test_a_saved_study_comes_back_whole(tmp_path):
    saved = study()
    saved.save(tmp_path / "new" / "study.npz")
    loaded = StudyData.load(tmp_path / "new" / "study.npz")
    assert_frame_equal(loaded.truth, saved.truth)
    for variant in ("main", "resampled"):
        one, other = saved.part("seen", variant), loaded.part("seen", variant)
        for name in ("X", "y", "clusters", "sample_id", "subject", "dataset"):
            a, b = getattr(one, name), getattr(other, name)
            np.testing.assert_array_equal(a, b)
            assert a.dtype == b.dtype, name
        assert (one.feature_names, one.allow_missing) == (other.feature_names, other.allow_missing)


def image_study(n=12, size=5):
    rng = np.random.default_rng(1)
    X = rng.integers(0, 256, size=(n, 1, size, size), dtype=np.uint8)
    seen = ClusteredData(**table(n, X=X))
    unseen = ClusteredData(X[:4].copy(), np.arange(4) % 2, np.array(list("xxyy")))
    return StudyData(
        {"main": {"seen": seen, "unseen": unseen}},
        pd.DataFrame(),
        regions={"main": {"seen": rng.random((n, size, size)) < 0.2}},
    )


def test_images_and_regions_are_mapped_not_read_and_can_be_written_to(tmp_path):
    import torch

    saved, path = image_study(), tmp_path / "study.npz"
    saved.save(path)
    before = path.read_bytes()
    path.chmod(0o444)
    loaded = StudyData.load(path)
    X, region = loaded.part("seen").X, loaded.regions["main"]["seen"]
    assert all(isinstance(a.base, np.memmap) for a in (X, loaded.part("unseen").X, region))
    assert X.dtype == np.uint8 and region.dtype == bool
    np.testing.assert_array_equal(X, saved.part("seen").X)
    np.testing.assert_array_equal(region, saved.regions["main"]["seen"])
    assert list(loaded.regions["main"]) == ["seen"], "of the unseen part nothing is known"
    # Warnings are errors: torch warns of arrays that cannot be written to.
    torch.from_numpy(X)[0] = 7
    assert (X[0] == 7).all() and path.read_bytes() == before
    assert loaded.part("seen").take(np.array([3, 1])).X.shape == (2, 1, 5, 5)


def test_images_are_taken_as_they_are():
    X = np.zeros((12, 1, 4, 4), dtype=np.uint8)
    data = ClusteredData(**table(X=X))
    data.check()
    assert data.X.dtype == np.uint8 and np.shares_memory(data.X, X) and data.feature_names == ()


def test_a_file_of_images_that_is_damaged_is_named(tmp_path):
    path = tmp_path / "study.npz"
    image_study().save(path)
    whole = path.read_bytes()
    at = whole.index(b"main/seen/X.npy")
    damaged = [whole[:n] for n in (0, 10, len(whole) // 2, len(whole) - 30)]
    damaged += [whole[: at - 30] + b"x" + whole[at - 29 :], whole.replace(b"(12, 1, 5, 5)", b"(19, 1, 5, 5)")]
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"study\.npz does not hold a study's data"):
            StudyData.load(path)


def test_regions_that_do_not_fit_are_told_at_once():
    parts, regions = image_study().parts, image_study().regions["main"]["seen"]
    with pytest.raises(DataError) as error:
        StudyData(
            parts,
            pd.DataFrame(),
            regions={"main": {"seen": regions[1:], "other": regions, "unseen": regions[:4] * 0.5}},
        )
    message = str(error.value)
    assert (
        "the regions of main/seen have shape (11, 5, 5); expected one for each of its images (12, 1, 5, 5)" in message
    )
    assert "regions of main/other, which is no part" in message and "main/unseen are of type float64" in message
    as_bytes = StudyData(parts, pd.DataFrame(), regions={"main": {"seen": regions.astype(np.uint8)}})
    assert as_bytes.regions["main"]["seen"].dtype == bool


def test_tables_of_samples_come_back_and_are_checked(tmp_path):
    parts = image_study().parts
    table = pd.DataFrame(
        {"group": [f"p{i % 3}" for i in range(12)], "frame": np.arange(12), "phenotype": np.linspace(0, 1, 12)},
        index=np.arange(12)[::-1],
    )
    saved = StudyData(parts, pd.DataFrame(), samples={"main": {"seen": table}})
    saved.save(tmp_path / "study.npz")
    loaded = StudyData.load(tmp_path / "study.npz")
    assert list(loaded.samples) == ["main"] and list(loaded.samples["main"]) == ["seen"]
    assert_frame_equal(loaded.samples["main"]["seen"], saved.samples["main"]["seen"])
    assert loaded.samples["main"]["seen"]["frame"].tolist() == list(range(12)), "in the order of the rows"
    assert loaded.samples["main"]["seen"]["phenotype"].dtype == np.float64
    image_study().save(tmp_path / "without.npz")
    assert StudyData.load(tmp_path / "without.npz").samples == {}
    wrong = {"seen": table[1:].rename(columns={"frame": "a/b"}), "other": table}
    wrong["unseen"] = pd.DataFrame({"when": pd.date_range("2020-01-01", periods=4)})
    with pytest.raises(DataError) as error:
        StudyData(parts, pd.DataFrame(), samples={"main": wrong})
    for told in (
        "samples of main/seen has 11 rows and 3 columns; expected a row for each of its 12 samples",
        "main/seen has a column 'a/b'; expected text without a slash",
        "samples of main/other, which is no part",
        "column 'when' of the samples of main/unseen is of type datetime64",
    ):
        assert told in str(error.value), str(error.value)


def test_files_written_before_images_were_mapped_still_load(tmp_path):
    path = tmp_path / "old.npz"
    image_study().save(tmp_path / "new.npz")
    with np.load(tmp_path / "new.npz") as file:
        np.savez_compressed(path, **{key: file[key] for key in file.files if not key.endswith("region")})
    old = StudyData.load(path)
    np.testing.assert_array_equal(old.part("seen").X, image_study().part("seen").X)
    assert not old.regions and old.part("seen").X.dtype == np.uint8


def test_saving_is_repeatable_byte_for_byte_and_leaves_one_file(tmp_path):
    for name in ("one.npz", "two.npz"):
        study().save(tmp_path / name)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one.npz", "two.npz"]


def test_remarks_are_saved_where_there_are_any(tmp_path):
    remarks = Remarks()
    remarks.add("rows", "without a label", 3)
    parts = study().parts
    for name, kept in {
        "none": StudyData(parts, study().truth),
        "some": StudyData(parts, study().truth, remarks.frame()),
    }.items():
        kept.save(tmp_path / f"{name}.npz")
        assert_frame_equal(StudyData.load(tmp_path / f"{name}.npz").remarks, kept.remarks)
    with np.load(tmp_path / "none.npz") as file:
        assert not [key for key in file.files if key.startswith("remarks")]
    with pytest.raises(DataError, match="remarks has the columns what; expected what, reason, count"):
        StudyData(parts, study().truth, pd.DataFrame({"what": ["rows"]}))


def test_a_file_that_is_not_a_study_is_named(tmp_path):
    other = tmp_path / "other.npz"
    np.savez(other, X=np.zeros(3))
    broken = tmp_path / "broken.npz"
    broken.write_bytes(b"PK\x03\x04 cut short")
    for path in (other, broken):
        with pytest.raises(DataError, match=path.name):
            StudyData.load(path)


def test_unknown_parts_and_unusable_names():
    with pytest.raises(UnknownNameError, match="no part 'unsen'"):
        study().part("unsen")
    with pytest.raises(UnknownNameError, match=r"no variant 'resample'.* Did you mean 'resampled'"):
        study().part("seen", "resample")
    with pytest.raises(DataError, match="without a slash"):
        StudyData({"main": {"a/b": study().part("seen")}}, pd.DataFrame())


def test_data_and_reproducibility_load_no_torch():
    code = (
        "import sys, armed.data.spirals, armed.data.splits, armed.data.study, armed.reproducibility;"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
