"""The profile for Slurm, and the scripts that start one for the tests; without Slurm."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from armed import registry

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "tests" / "slurm"
PROFILES = ROOT / "workflow" / "profiles"


def profile(name: str, *, with_site: bool = False) -> dict:
    """A profile; `with_site` with the commented settings that a site fills in."""
    text = (PROFILES / name / "config.yaml").read_text(encoding="utf-8")
    if with_site:
        text = re.sub(r"^# (?=[a-z-]+:( [a-z]+)?$| )", "", text, flags=re.MULTILINE)
    return yaml.safe_load(text)


def test_it_repeats_the_default_profile_which_it_replaces():
    default = profile("default")
    assert {key: profile("slurm")[key] for key in default} == default


def test_attempts_are_the_profiles_and_no_rules():
    assert profile("slurm")["retries"] == 2
    for file in (ROOT / "workflow" / "rules").glob("*.smk"):
        assert "retries:" not in file.read_text(encoding="utf-8"), file.name


def test_it_names_no_partition_nor_account_of_a_site():
    assert not {"default-resources", "set-resources"} & set(profile("slurm"))


def test_what_a_site_uncomments_sends_image_studies_to_the_gpu():
    found = profile("slurm", with_site=True)
    assert found["slurm-status-command"] == "squeue"
    assert set(found["default-resources"]) == {"slurm_partition", "slurm_account"}
    images = {*registry.IMAGES, *registry.AUTOENCODED}
    for study in registry.STUDIES:
        known = {"wildcards": SimpleNamespace(study=study), "attempt": 2}
        for rule in ("fit", "infer_clusters"):
            partition = eval(found["set-resources"][rule]["slurm_partition"], known)
            assert partition == ("gpu" if study in images else "main")
        assert eval(found["set-resources"]["fit"]["runtime"], known) == (2880 if study in images else 120)


def test_limits_of_all_rules_grow_with_the_attempt():
    for file in (ROOT / "workflow" / "rules").glob("*.smk"):
        text = file.read_text(encoding="utf-8")
        for name in ("mem_mb", "runtime"):
            asked = re.findall(rf"\b{name}=(\w+)", text)
            assert len(asked) == len(re.findall(r"^\s*(?:rule|checkpoint) ", text, re.MULTILINE)), file.name
            assert set(asked) <= {"growing"}, file.name


@pytest.fixture
def without_slurm(tmp_path):
    """A PATH on which there is a shell, and no Slurm."""
    for name in ("bash", "env", "uname", "tail"):
        (tmp_path / name).symlink_to(shutil.which(name))
    return {**os.environ, "PATH": str(tmp_path)}


def test_a_machine_without_slurm_is_told_so(without_slurm):
    done = subprocess.run([SCRIPTS / "start-slurm.sh", "--check"], env=without_slurm, capture_output=True, text=True)
    assert done.returncode == 3
    assert re.search(r"there is no 'munged?' \(Debian's packages", done.stderr)


@pytest.mark.parametrize("script", ["start-slurm.sh", "stop-slurm.sh"])
def test_scripts_want_a_folder(script):
    done = subprocess.run([SCRIPTS / script], capture_output=True, text=True)
    assert done.returncode == 2
    assert "which folder?" in done.stderr
