"""What runs again after an edit, and what bad configurations and interruptions do."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from armed import results

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("workflow")]


@pytest.fixture
def edited(smoke):
    """Edit a file of the copy; undone afterwards, its date too, which Snakemake looks at."""
    originals: dict[Path, tuple[str, int]] = {}

    def edit(path: str, old: str, new: str) -> None:
        file = smoke.folder / path
        text = file.read_text(encoding="utf-8")
        originals.setdefault(file, (text, file.stat().st_mtime_ns))
        assert text.count(old), f"{old!r} is not in {path}"
        file.write_text(text.replace(old, new, 1), encoding="utf-8")

    yield edit
    for file, (text, date) in originals.items():
        file.write_text(text, encoding="utf-8")
        os.utime(file, ns=(date, date))


def test_a_finished_run_has_nothing_to_do(smoke):
    assert smoke.planned().rules == set()


def test_editing_the_model_refits_what_uses_it(smoke, edited):
    edited("armed/models/mixed_effects.py", "base + random if", "random + base if")
    plan = smoke.planned()
    models = ("armed", "conventional", "cluster_inference")
    assert plan.fits == {f"{study}/{m}" for study in ("spirals_radius", "spirals_confounded") for m in models}


def test_editing_a_docstring_or_a_comment_reruns_nothing(smoke, edited):
    edited("armed/models/mixed_effects.py", '"""`MixedEffects`: any network', '"""MixedEffects: whatever network')
    edited("armed/layers/random_effects.py", "# Above this many clusters", "# Beyond this many clusters")
    assert smoke.planned().rules == set()


def test_a_new_registry_entry_refits_nothing(smoke, edited):
    edited(
        "armed/registry.py",
        '        Model(\n            "mldg",',
        '        Model("another", "Another", "baselines.mldg:MLDG", CLASSIFIED),\n        Model(\n            "mldg",',
    )
    edited("workflow/schemas/config.schema.yaml", "          mldg:\n", "          another: *nothing\n          mldg:\n")
    edited("config/config.yaml", "      cluster_input: {}\n", "      cluster_input: {}\n      another: {}\n")
    plan = smoke.planned()
    assert not plan.fits and "predict" not in plan.rules


def test_editing_the_plots_redraws_only(smoke, edited):
    edited("armed/plotting/style.py", "import annotations\n", "import annotations\n\nUNUSED = 1\n")
    assert smoke.planned().rules == {"figures", "robustness", "report", "all"}


def test_editing_a_claim_judges_anew_and_fits_nothing(smoke, edited):
    judged = results.read("claims", smoke.folder / "run" / "results" / "claims.tsv").set_index(["claim", "study"])
    assert judged.loc[("gain_seen_spirals", "spirals_radius"), "verdict"] != "not run"
    assert judged.loc[("probes", "spirals_confounded"), "verdict"] != "not run"
    assert judged.loc[("intercepts_follow_balance", "spirals_confounded"), "verdict"] != "not run"
    edited("config/claims.yaml", "rule: {name: at_least, value: 5}", "rule: {name: at_least, value: 6}")
    plan = smoke.planned()
    assert plan.rules == {"summarise", "figures", "robustness", "report", "all"} and not plan.fits


def test_changing_one_models_setting_refits_that_model_only(smoke, edited):
    edited("config/config.yaml", "lambda_g: 0.5\n        lambda_K", "lambda_g: 0.6\n        lambda_K")
    assert smoke.planned().fits == {"spirals_radius/armed", "spirals_confounded/armed"}


def test_changing_a_search_refits_the_tuned_models_only(smoke, edited):
    edited("config/config.yaml", "initial_sd: {low: 0.1", "initial_sd: {low: 0.2")
    shown = {"figures", "report", "summarise", "ranks", "robustness", "all"}
    assert smoke.planned().rules <= shown  # lmmnn is not tuned in the smoke run
    edited("config/config.yaml", "lambda_K: {low: 1.0e-6", "lambda_K: {low: 1.0e-7")
    assert smoke.planned().fits == {"spirals_radius/armed"}


def test_changing_a_level_sweeps_again_and_fits_nothing(smoke, edited):
    edited("config/smoke.yaml", "lambda_g: [0.0]", "lambda_g: [1.0]")
    plan = smoke.planned()
    assert not plan.fits and plan.rules >= {"sweep", "sensitivity", "robustness"} and "predict" not in plan.rules


def test_editing_the_search_refits_the_tuned_models_only(smoke, edited):
    edited("armed/tuning.py", "import annotations\n", "import annotations\n\nUNUSED = 1\n")
    assert smoke.planned().fits == {"spirals_radius/armed"}


def test_bad_configurations_are_refused_at_once(smoke):
    bad = smoke.folder / "config" / "bad.yaml"
    bad.write_text("studies: {spirals_radius: {epoch: 3, folds: 1}}\nrun: {models: [arned]}\n")
    done = smoke.run(directory="fresh", config="config/bad.yaml")
    message = done.stdout + done.stderr
    assert done.returncode != 0
    for part in ("epoch", "folds", "Did you mean 'armed'"):
        assert part in message
    assert not (smoke.folder / "fresh" / "results").exists()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_run_continues_to_the_same_numbers(smoke, how):
    """Stopped in the middle of the fits, then run again: the metrics are those of the undisturbed run, byte for byte."""
    directory = f"stopped_{how.name}"
    results = smoke.folder / directory / "results"
    process = subprocess.Popen(
        smoke.command(directory=directory),
        cwd=smoke.folder,
        env=smoke.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        # As in a terminal, whatever started the tests: in the background of a script Ctrl-C would be ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    until = time.time() + 120
    while time.time() < until and process.poll() is None:
        if any("Fitting" in log.read_text() for log in results.glob("logs/fit/*/armed.log")):
            break
        time.sleep(0.02)
    assert process.poll() is None, "the run ended before it could be stopped"
    os.killpg(process.pid, how)
    process.wait(timeout=120)
    assert not (results / "metrics.tsv").exists()
    done = smoke.run(directory=directory)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    for name in (
        "metrics.tsv",
        "cluster_metrics.tsv",
        "importance.tsv",
        "random_effects.tsv",
        "summary.tsv",
        "tuning.tsv",
    ):
        assert (results / name).read_bytes() == (smoke.folder / "run" / "results" / name).read_bytes(), name


def test_a_failing_fit_leaves_the_rest_and_is_listed(smoke, edited):
    edited(
        "baselines/mixedlm.py",
        "from __future__ import annotations",
        "from __future__ import annotations\nraise OSError('broken')",
    )
    first = smoke.run("--keep-going", directory="failing")
    assert first.returncode != 0
    assert (smoke.folder / "failing/results/parts/spirals_radius/armed/metrics.tsv").exists()
    second = smoke.run("--keep-going", directory="failing", config="config/smoke.yaml config/available.yaml")
    assert second.returncode == 0, (second.stdout + second.stderr)[-3000:]
    page = (smoke.folder / "failing/results/report.html").read_text(encoding="utf-8")
    assert "no finished fit" in page
