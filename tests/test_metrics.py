"""Metrics against hand-worked cases and scikit-learn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, softmax
from sklearn import metrics as reference

from armed import metrics
from armed.cells import Cells, concordance
from armed.errors import DataError

BINARY = [name for name, m in metrics.METRICS.items() if m.labels != "continuous"]


def sensitivity_at_specificity(y, logits):
    fpr, tpr, _ = reference.roc_curve(y, logits, drop_intermediate=False)
    return tpr[1 - fpr >= 0.8 - 1e-9].max()


def specificity_at_sensitivity(y, logits):
    fpr, tpr, _ = reference.roc_curve(y, logits, drop_intermediate=False)
    return (1 - fpr)[tpr >= 0.8 - 1e-9].max()


REFERENCES = {
    "accuracy": lambda y, z, c: reference.accuracy_score(y, c),
    "auroc": lambda y, z, c: reference.roc_auc_score(y, z),
    "auprc": lambda y, z, c: reference.average_precision_score(y, z),
    "balanced_accuracy": lambda y, z, c: reference.balanced_accuracy_score(y, c),
    "sensitivity": lambda y, z, c: reference.recall_score(y, c),
    "specificity": lambda y, z, c: reference.recall_score(y, c, pos_label=0),
    "f1": lambda y, z, c: reference.f1_score(y, c),
    "ppv": lambda y, z, c: reference.precision_score(y, c),
    "npv": lambda y, z, c: reference.precision_score(y, c, pos_label=0),
    "youden": lambda y, z, c: reference.balanced_accuracy_score(y, c, adjusted=True),
    "sensitivity_at_specificity_80": lambda y, z, c: sensitivity_at_specificity(y, z),
    "specificity_at_sensitivity_80": lambda y, z, c: specificity_at_sensitivity(y, z),
    "brier": lambda y, z, c: reference.brier_score_loss(y, expit(z)),
    "mse": lambda y, z, c: reference.mean_squared_error(y, z),
    "r2": lambda y, z, c: reference.r2_score(y, z),
}


def sample(seed, n=200, ties=True):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    logits = rng.normal(y - 0.5, 1.5)
    return y, np.round(logits, 1) if ties else logits


@pytest.mark.parametrize("name", list(REFERENCES))
@pytest.mark.parametrize("threshold", [0.5, 0.3])
def test_metrics_equal_scikit_learns(name, threshold):
    for seed in range(20):
        y, logits = sample(seed, n=int(20 + 30 * seed), ties=seed % 2 == 0)
        called = (expit(logits) >= threshold).astype(int)
        ours = metrics.evaluate(y, logits, [name], threshold=threshold)[name]
        assert ours == pytest.approx(REFERENCES[name](y, logits, called), abs=1e-12)


def test_a_hand_worked_case():
    # Logits fall; labels 1 1 0 1 0 | threshold at 0.5 calls the first three positive.
    y, logits = np.array([1, 1, 0, 1, 0]), np.array([3.0, 2.0, 1.0, -1.0, -2.0])
    found = metrics.evaluate(y, logits, [m for m in BINARY if m not in ("brier", "ece")])
    assert found == pytest.approx(
        {
            "accuracy": 3 / 5,
            "auroc": 5 / 6,
            "auprc": (1 + 1 + 3 / 4) / 3,
            "balanced_accuracy": (2 / 3 + 1 / 2) / 2,
            "sensitivity": 2 / 3,
            "specificity": 1 / 2,
            "f1": 4 / 6,
            "ppv": 2 / 3,
            "npv": 1 / 2,
            "youden": 1 / 6,
            "sensitivity_at_specificity_80": 2 / 3,
            "specificity_at_sensitivity_80": 1 / 2,
        }
    )


def test_calibration_error_by_hand():
    # Two bins: probability 0.1 (a quarter positive) and 0.8 (all positive): (4 * 0.15 + 2 * 0.2) / 6.
    p = np.array([0.1] * 4 + [0.8] * 2)
    logits = np.log(p / (1 - p))
    assert metrics.evaluate([1, 0, 0, 0, 1, 1], logits, ["ece"])["ece"] == pytest.approx(1 / 6)


def test_probability_one_half_is_called_positive():
    assert metrics.evaluate([1, 1, 0], [0.0, 0.0, 0.0], ["sensitivity", "specificity"]) == {
        "sensitivity": 1.0,
        "specificity": 0.0,
    }


def test_saturated_logits_still_rank():
    y, logits = np.array([0, 1, 0, 1]), np.array([800.0, 900.0, -900.0, -800.0])
    found = metrics.evaluate(y, logits, ["auroc", "brier"])
    assert found == {"auroc": 0.75, "brier": 0.5}


@pytest.mark.parametrize(
    ("y", "logits", "undefined"),
    [
        ([1, 1], [1.0, -1.0], {"auroc", "balanced_accuracy", "specificity", "youden"}),
        ([0, 0], [1.0, -1.0], {"auroc", "auprc", "balanced_accuracy", "sensitivity", "youden"}),
        ([0, 1], [-1.0, -1.0], {"ppv"}),
        ([0, 1], [1.0, 1.0], {"npv"}),
        ([0, 0], [-1.0, -1.0], {"auroc", "auprc", "balanced_accuracy", "sensitivity", "youden", "ppv", "f1"}),
        ([], [], {*BINARY, "mse", "r2"}),
    ],
)
def test_undefined_metrics_are_nan_with_a_reason(y, logits, undefined):
    cells = Cells.of(np.zeros(len(y), int), np.array(y), np.array(logits), n_cells=1)
    at_80 = {"sensitivity_at_specificity_80", "specificity_at_sensitivity_80"}
    if "auroc" in undefined:
        undefined = undefined | at_80
    for name in BINARY:
        (value,), (note,) = metrics.compute(cells, name)
        assert np.isnan(value) == (name in undefined), name
        assert bool(note) == (name in undefined)


def test_nan_predictions_are_told_and_stay_in_their_cell():
    cells = Cells.of([0, 0, 1, 1], np.array([0, 1, 0, 1]), np.array([0.0, np.nan, -1.0, 1.0]))
    for name in BINARY:
        values, notes = metrics.compute(cells, name)
        assert np.isnan(values[0]) and notes[0] == "predictions contain NaN"
        assert not np.isnan(values[1]) and notes[1] == ""


def test_r2_of_equal_labels_is_undefined_whatever_the_rounding():
    assert np.isnan(metrics.evaluate([0.1] * 7, np.arange(7.0), ["r2"])["r2"])
    assert metrics.evaluate([1.5, 2.5], [1.5, 2.5], ["r2", "mse"]) == {"r2": 1.0, "mse": 0.0}


def test_multiclass_metrics_equal_scikit_learns():
    rng = np.random.default_rng(1)
    for k in (3, 5):
        y = rng.integers(0, k, 300)
        logits = rng.normal(size=(300, k)) + 1.5 * np.eye(k)[y]
        p, called = softmax(logits, axis=1), logits.argmax(axis=1)
        names = ["accuracy", "auroc", "auprc", "balanced_accuracy", "brier", "ece"]
        found = metrics.evaluate(y, logits, names)
        assert found["accuracy"] == pytest.approx(reference.accuracy_score(y, called))
        assert found["auroc"] == pytest.approx(reference.roc_auc_score(y, p, multi_class="ovr"))
        assert found["auprc"] == pytest.approx(reference.average_precision_score(np.eye(k)[y], p))
        assert found["balanced_accuracy"] == pytest.approx(reference.balanced_accuracy_score(y, called))
        assert found["brier"] == pytest.approx(((p - np.eye(k)[y]) ** 2).sum(axis=1).mean())
        confidence, hit, gap = p.max(axis=1), called == y, 0.0
        for low in np.arange(15) / 15:
            inside = (confidence >= low) & (confidence < low + 1 / 15)
            gap += abs((hit[inside] - confidence[inside]).sum()) / 300
        assert found["ece"] == pytest.approx(gap)


def test_multiclass_without_one_class_is_undefined():
    found = metrics.evaluate([0, 1, 1], np.eye(3), ["auroc", "auprc", "balanced_accuracy", "accuracy"])
    assert np.isnan([found["auroc"], found["auprc"], found["balanced_accuracy"]]).all()
    assert found["accuracy"] == pytest.approx(2 / 3)


@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(-3, 3)), min_size=1, max_size=40),
    st.floats(0.1, 10),
    st.floats(-5, 5),
)
def test_auroc_counts_pairs_and_depends_on_ranks_only(rows, scale, shift):
    y, z = np.array(rows).T
    cells = Cells.of(np.zeros(len(y), int), y, z.astype(float))
    (concordant,), (pairs,) = concordance(cells)
    difference = z[y == 1][:, None] - z[y == 0][None, :]
    assert concordant == (difference > 0).sum() + (difference == 0).sum() / 2
    assert pairs == difference.size
    if pairs:
        moved = metrics.evaluate(y, scale * z + shift, ["auroc"])["auroc"]
        assert moved == pytest.approx(concordant / pairs)
        assert metrics.evaluate(1 - y, -z.astype(float), ["auroc"])["auroc"] == pytest.approx(moved)


@given(st.lists(st.tuples(st.integers(0, 1), st.floats(-4, 4)), min_size=2, max_size=40))
def test_no_threshold_beats_youdens(rows):
    y, z = np.array([r[0] for r in rows]), np.array([r[1] for r in rows])
    if y.min() == y.max():
        with pytest.raises(DataError, match="needs both classes"):
            metrics.youden_threshold(y, z)
        return
    threshold = metrics.youden_threshold(y, z)
    best = metrics.evaluate(y, z, ["youden"], threshold=threshold)["youden"]
    for other in [0.0, *expit(z)]:
        assert metrics.evaluate(y, z, ["youden"], threshold=other)["youden"] <= best + 1e-9


@pytest.mark.parametrize(
    ("y", "output", "names", "message"),
    [
        ([0, 1], [0.0, 1.0], ["aurok"], "Did you mean 'auroc'"),
        ([0, 2], [0.0, 1.0], ["accuracy"], "1 labels are not in 0..1, e.g. 2"),
        ([0, np.nan], [0.0, 1.0], ["accuracy"], "1 labels are not in 0..1"),
        ([0.5, 1], [0.0, 1.0], ["mse", "auroc"], "ask for mse and r2 only"),
        ([0, 1], np.eye(2, 3), ["accuracy", "ppv", "mse"], "ppv, mse: not defined for 3 classes"),
        ([0, 1], [0.0], ["accuracy"], "2 labels and 1 predictions"),
    ],
)
def test_wrong_requests_are_refused(y, output, names, message):
    with pytest.raises(DataError, match=message):
        metrics.evaluate(np.array(y), np.array(output), names)
