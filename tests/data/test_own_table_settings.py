"""Settings of a user's own table: each wrong one is told, with what was expected."""

from __future__ import annotations

import pytest

from armed.data.own_table import OwnTableSettings
from armed.errors import ConfigError

BLOCK = {"path": "own.csv", "kind": "binary", "label": "sick", "cluster": "site", "drop": ["id"]}


class TestSettings:
    @staticmethod
    def problems(**changed: object) -> str:
        with pytest.raises(ConfigError, match=r"studies\.mine\.data") as error:
            OwnTableSettings.from_block(BLOCK | changed, "mine")
        return str(error.value)

    def test_keys(self):
        assert "unknown key 'labels'. Did you mean 'label'?" in self.problems(labels="x")
        assert "'cluster' is missing" in self.problems(cluster=None)

    @pytest.mark.parametrize(
        ("changed", "problem"),
        [
            ({"kind": "binery"}, "expected one of binary, multiclass, continuous. Did you mean 'binary'?"),
            ({"label": 3}, "label is 3; expected text"),
            ({"features": "age"}, "features is 'age'; expected a list of columns"),
            ({"unseen": -1}, "unseen is -1; expected"),
            ({"unseen": True}, "unseen is True; expected"),
            ({"min_cluster_size": 0}, "min_cluster_size is 0; expected"),
            ({"kind": "continuous", "positive": "Y"}, "only a binary label has a positive value"),
            ({"cluster": "sick"}, "column sick is given as label and as cluster"),
            ({"drop": ["id", "site"]}, "column site is given as cluster and as drop"),
            ({"features": ["age", "sick"]}, "column sick is given as label and as features"),
            ({"features": ["age", "age"]}, "features names age more than once"),
            ({"categorical": ["id"]}, "categorical names id, which is no feature"),
            ({"features": ["age"], "categorical": ["sex"]}, "categorical names sex, which is no feature"),
        ],
    )
    def test_values(self, changed, problem):
        assert problem in self.problems(**changed)
