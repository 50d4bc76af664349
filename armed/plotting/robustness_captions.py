"""Figures and captions of the part on robustness, from the configuration alone. Loads no matplotlib."""

from __future__ import annotations

from collections.abc import Mapping

from armed import labels, sweep_config
from armed.author_choices import offered
from armed.plotting.catalogue import FigureSpec

RANKS, SENSITIVITY = "robustness_ranks", "robustness_sensitivity"


def figures(config: Mapping) -> list[FigureSpec]:
    """Ranks always; sweeps and the authors' choices where the configuration asks for either."""
    found = [FigureSpec(RANKS, "", "ranks", table_caption(RANKS, config))]
    if sweep_config.swept_models(config) or offered(config):
        found.append(FigureSpec(SENSITIVITY, "", "sensitivity", _sensitivity(config)))
    return found


def table_caption(name: str, config: Mapping) -> str:
    """Caption of a table of this part."""
    return {RANKS: _ranks, "robustness_sweeps": _sweeps, "author_choices": _choices}[name](config)


def _ranks(config: Mapping) -> str:
    return (
        "Rank of each method by the study's first metric, within each dataset drawn anew (spirals, dementia stand-ins), each "
        "seed, or each random split of one dataset; folds are averaged first, and methods that tie share their ranks. The "
        "percentage is the share of first ranks: the probability of being best. Its interval is Wilson's with n = datasets, "
        "seeds or splits. Datasets are independent; seeds and splits of one dataset share its samples, so that their share "
        "says how surely the order is known on these samples and nothing of others. Methods fitted on fewer seeds are not "
        "ranked, nor is ARMED with randomised Z, an ablation."
    )


def _sweeps(config: Mapping) -> str:
    given, study = config["sweeps"], labels.study(sweep_config.STUDY)
    folds = f"{given['folds']} fold{'s' * (given['folds'] != 1)}"
    return (
        f"{study}, simulated data: {given['datasets']} datasets x {folds} at each level, one thing changed at a time and all "
        "else as in the study; a dataset keeps its folds, initial weights and batches at all levels. Intervals are over "
        "datasets, differences paired by dataset, not corrected for their number. Deconfounded: test data in which probes tell "
        "nothing of the label. A probe wins: it is more important than the weakest real feature. Epochs stay the same, so "
        "that fewer points are fewer steps too."
    )


def _choices(config: Mapping) -> str:
    left_out = ""
    if "reference_protocol" in offered(config):
        left_out = (
            " Early stopping by the test fold makes the seen clusters' result too good: that is what it is worth."
        )
    return (
        "Each of the authors' choices toggled alone, on seen clusters: their way minus the other, on the same seeds and "
        f"folds, with {config['statistics']['confidence']:.0%} intervals that allow for overlapping training sets within one "
        "dataset. S.d. over seeds: of a seed's mean over folds. Of importance at the mean point: share of datasets in which "
        f"a probe beats a real feature.{left_out}"
    )


def _sensitivity(config: Mapping) -> str:
    parts = []
    if sweep_config.swept_models(config):
        parts.append(f"Above: {_sweeps(config)} The dotted line is the study's own level.")
    if offered(config):
        parts.append(f"{'Below: ' * bool(parts)}{_choices(config)}")
    return " ".join(parts)
