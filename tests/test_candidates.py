"""Candidates of a search: the default first, no two alike, the same again, the same budget for every method."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from armed.candidates import Range, candidates, find_problems
from armed.errors import ConfigError

SPACE = {"learning_rate": Range(1e-4, 1e-2), "lambda_g": Range(0, 2, "linear")}
DEFAULT = {"learning_rate": 1e-3, "lambda_g": 0.5}


@pytest.mark.parametrize("n", [1, 2, 16])
def test_the_default_comes_first_and_the_budget_is_kept(n):
    found = candidates(SPACE, DEFAULT, n)
    assert found[0] == DEFAULT
    assert len(found) == n == len({tuple(c.items()) for c in found})
    assert all(list(c) == list(SPACE) for c in found)


def test_the_same_seed_gives_the_same_and_a_smaller_budget_fewer_of_them():
    assert candidates(SPACE, DEFAULT, 16, seed=3)[:4] == candidates(SPACE, DEFAULT, 4, seed=3)
    assert candidates(SPACE, DEFAULT, 4, seed=3) != candidates(SPACE, DEFAULT, 4, seed=4)


def test_methods_that_share_a_hyperparameter_try_the_same_values_of_it():
    other = {"learning_rate": SPACE["learning_rate"], "prior_sd": Range(0.1, 1)}
    one, two = (candidates(s, DEFAULT | {"prior_sd": 0.3}, 8, seed=1) for s in (SPACE, other))
    assert [c["learning_rate"] for c in one] == [c["learning_rate"] for c in two]
    assert len({c["lambda_g"] for c in one}) == 8, "streams of different hyperparameters differ"
    assert one[1]["lambda_g"] / 2 != pytest.approx(math.log(one[1]["learning_rate"] / 1e-4) / math.log(100))


@given(
    share=st.floats(0, 1), low=st.floats(1e-6, 1), factor=st.floats(1.5, 1e4), scale=st.sampled_from(["log", "linear"])
)
def test_values_of_a_range_lie_in_it(share, low, factor, scale):
    high = low * factor
    assert low <= Range(low, high, scale).at(share) <= high


def test_scales():
    assert Range(1e-4, 1.0).at(0.5) == pytest.approx(1e-2)
    assert Range(0.0, 3.0, "linear").at(0.5) == pytest.approx(1.5)
    drawn = [c["a"] for c in candidates({"a": Range(1e-4, 1.0)}, {"a": 1}, 400)]
    assert 150 < sum(v < 1e-2 for v in drawn) < 250


def test_ranges_as_a_configuration_has_them():
    written = {"learning_rate": {"low": 1e-4, "high": 1e-2, "scale": "log"}, "lambda_g": [0, 1]}
    assert candidates(written, DEFAULT, 8) == candidates({**SPACE, "lambda_g": (0.0, 1.0)}, DEFAULT, 8)


def test_grid():
    found = candidates({"learning_rate": [1e-3, 1e-2], "lambda_g": [1, 0.5]}, DEFAULT, 4, search="grid")
    assert found[0] == DEFAULT
    assert [tuple(c.values()) for c in found[1:]] == [(1e-3, 1.0), (1e-2, 1.0), (1e-2, 0.5)]
    outside = candidates({"learning_rate": [1e-3], "lambda_g": [1, 2]}, DEFAULT, 4, search="grid")
    assert len(outside) == 3 and outside[0] == DEFAULT


@pytest.mark.parametrize("search", ["random", "grid"])
def test_a_small_space_gives_all_its_points_and_says_so(search, caplog):
    found = candidates({"learning_rate": [1e-3, 1e-2], "lambda_g": [1, 2, 2]}, DEFAULT, 16, search=search)
    assert len(found) == 5 and found[0] == DEFAULT
    assert "5 candidates instead of 16" in caplog.text


def test_a_range_too_short_for_the_budget_ends(caplog):
    assert 1 < len(candidates({"lambda_g": Range(0.5, 0.5002)}, DEFAULT, 16)) < 16
    assert "instead of 16" in caplog.text


@pytest.mark.parametrize(
    ("space", "n", "search", "told"),
    [
        ({"lamda_g": [1]}, 4, "random", "lamda_g is no hyperparameter here. Did you mean 'lambda_g'?"),
        ({"lambda_g": []}, 4, "random", "lambda_g has no values"),
        ({"lambda_g": Range(2, 1)}, 4, "random", "lambda_g goes from 2 to 1, but low below high"),
        ({"lambda_g": Range(0, 1)}, 4, "random", "lambda_g starts at 0, but a number above 0"),
        ({"lambda_g": Range(0.1, 1, "lin")}, 4, "random", "Did you mean 'linear'?"),
        ({"lambda_g": Range(1, 2)}, 4, "grid", "lambda_g is a range, but a list of values"),
        (
            {"lambda_g": [1, 2, 3], "learning_rate": [1, 2]},
            6,
            "grid",
            "the space has 7 settings (3 x 2 and the default)",
        ),
        ({"lambda_g": [0.5, 2, 3]}, 2, "grid", "the space has 3 settings (3), but at most 2"),
        ({"lambda_g": [1]}, 0, "random", "the space is searched with 0 candidates"),
        ({"lambda_g": [1]}, 4, "gird", "Did you mean 'grid'?"),
    ],
)
def test_problems(space, n, search, told):
    with pytest.raises(ConfigError) as error:
        candidates(space, DEFAULT, n, search=search)
    assert told in str(error.value)


def test_all_problems_at_once():
    found = list(find_problems({"a": [1], "lambda_g": [], "learning_rate": Range(2, 1)}, DEFAULT, 0, "random"))
    assert [name for name, _ in found] == ["", "a", "lambda_g", "learning_rate"]
