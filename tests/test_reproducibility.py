"""Derived seeds, the source digest, the environment, files written whole."""

import hashlib
import os
import types

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from armed import reproducibility
from armed.errors import UnknownNameError
from armed.reproducibility import (
    derive_seed,
    environment,
    git_commit,
    modules_used,
    source_digest,
)


def test_derived_seeds_never_change():
    """Results on disk depend on these: the first 63 bits of the SHA-256 of the parts as JSON."""
    expected = hashlib.sha256(b'["data", "spirals_radius", 3, 0]').hexdigest()[:16]
    assert derive_seed("data", "spirals_radius", 3) == int(expected, 16) >> 1
    assert derive_seed("data", "spirals_radius", np.int64(3)) == derive_seed("data", "spirals_radius", 3, 0)


parts = st.tuples(st.text(max_size=4), st.text(max_size=4), st.integers(-5, 200), st.integers(0, 20))


@given(parts, parts)
def test_derived_seeds_differ_and_fit_in_63_bits(one, other):
    a, b = derive_seed(*one), derive_seed(*other)
    assert 0 <= a < 2**63
    assert (a == b) == (one == other)


FILES = {
    "armed/__init__.py": "from armed.plotting import draw\n",
    "armed/plotting.py": "def draw():\n    return 1\n",
    "armed/layers/__init__.py": "",
    "armed/layers/effects.py": "SCALE = 1\n",
    "armed/models/__init__.py": "from .mlp import MLP\n",
    "armed/models/mlp.py": "from ..layers import effects\n\nclass MLP:\n    '''A net.'''\n    units = 4\n",
    "armed/losses.py": "import numpy\n\ndef loss(x):\n    return x\n",
    "armed/training.py": "from armed.models import MLP\n\ndef fit():\n    import armed.losses\n",
    "baselines/__init__.py": "",
    "baselines/plain.py": "from armed.training import fit\nfrom armed import losses\n\nclass Plain:\n    pass\n",
}


@pytest.fixture
def project(tmp_path):
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_the_closure_follows_every_form_of_import(project):
    assert modules_used("baselines.plain", root=project) == [
        "armed.layers.effects",
        "armed.losses",
        "armed.models",
        "armed.models.mlp",
        "armed.training",
        "baselines.plain",
    ]
    assert modules_used("armed.models.mlp", root=project) == ["armed.layers.effects", "armed.models.mlp"]


@pytest.mark.parametrize("name", ["armed/layers/effects.py", "armed/losses.py", "armed/models/__init__.py"])
def test_an_edit_of_anything_used_changes_the_digest(project, name):
    before = source_digest("baselines.plain:Plain", root=project)
    (project / name).write_text(FILES[name] + "x = 3\n")
    assert source_digest("baselines.plain:Plain", root=project) != before


def test_what_does_not_count(project):
    before = source_digest("baselines.plain:Plain", root=project)
    changed = "'''Now with words.'''\n# and a comment\nfrom ..layers import (\n    effects,\n)\n\n\n"
    changed += 'class MLP:\n    """Another docstring."""\n\n    units = (4)\n'
    (project / "armed/models/mlp.py").write_text(changed)
    (project / "armed/plotting.py").write_text("def draw():\n    return 2\n")
    (project / "armed/__init__.py").write_text("x = 1\n")
    assert source_digest("baselines.plain", root=project) == before
    (project / "armed/models/mlp.py").write_text(changed.replace("(4)", "(5)"))
    assert source_digest("baselines.plain", root=project) != before


@pytest.mark.parametrize("line", ["import armed", "from armed import MixedEffects", "from armed import *"])
def test_names_that_are_resolved_at_run_time_count_as_the_whole_package(project, line):
    (project / "baselines/lazy.py").write_text(f"{line}\n")
    used = modules_used("baselines.lazy", root=project)
    assert "armed.plotting" in used and "armed.layers.effects" in used and "armed" not in used
    (project / "baselines/version.py").write_text("from armed import __version__, losses\n")
    assert modules_used("baselines.version", root=project) == ["armed.losses", "baselines.version"]


def test_import_cycles_end(project):
    (project / "armed/losses.py").write_text("from armed import training\n")
    assert "armed.training" in modules_used("armed.losses", root=project)


def test_strings_are_not_followed():
    found = modules_used("armed.registry")
    assert found == ["armed.entries", "armed.errors", "armed.names", "armed.registry"]


def test_the_digest_of_real_modules_by_name_and_by_object():
    digest = source_digest("armed.data.spirals:simulate")
    assert digest == source_digest("armed.data.spirals") and len(digest) == 64
    assert digest != source_digest("armed.data.splits:make_splits")
    assert source_digest(reproducibility) == source_digest("armed.reproducibility")


@pytest.mark.parametrize("target", ["armed.data.spiral:simulate", "numpy", "armed", types.ModuleType("os")])
def test_targets_outside_the_project_are_refused(target):
    with pytest.raises(UnknownNameError, match="is not a module under"):
        source_digest(target)
    with pytest.raises(UnknownNameError, match=r"Did you mean 'armed\.data\.spirals'"):
        source_digest("armed.data.spirls:simulate")


def test_environment_names_what_matters():
    found = environment()
    assert found["packages"]["numpy"] == np.__version__
    assert found["python"].startswith("3.") and found["cpu_count"] == os.cpu_count()
    assert found["git_commit"] is None or len(found["git_commit"]) == 40


def test_environment_without_a_package_git_or_a_commit(monkeypatch, tmp_path):
    monkeypatch.setattr(reproducibility, "REPORTED_PACKAGES", ("no-such-package",))
    monkeypatch.setattr(reproducibility, "ROOT", tmp_path)
    assert environment()["packages"] == {"no-such-package": None}
    assert git_commit(tmp_path) is None
    (tmp_path / ".git").mkdir()  # not a repository
    assert git_commit(tmp_path) is None
    monkeypatch.setenv("PATH", "")
    assert git_commit(tmp_path) is None
