"""Tables, sentences and the report's part on robustness: right numbers in the right places, made from the tables alone."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from config_edits import put
from metric_rows import rows
from synthetic_results import small_config
from test_plotting_robustness import config, folder, found  # noqa: F401
from test_sensitivity import swept, table

from armed import results, robustness_tables
from armed.report import build_report, write_tables
from armed.robustness import rank_shares
from armed.statistics import Settings

OWN = {"lambda_g": 0.5}
HEADLINE = {"spirals_radius": "accuracy", "heart": "auroc", "mci_conversion": "auroc"}


def ranked(wins: int, n: int = 20, **names) -> pd.DataFrame:
    """Table `ranks` where ARMED is best in so many of n seeds, the conventional network in the others."""
    base = np.full((n, 2), 0.7)
    ahead = base + np.where(np.arange(n) < wins, 0.1, -0.1)[:, None]
    frames = [rows(base, model="conventional", **names), rows(ahead, model="armed", **names)]
    return rank_shares(pd.concat(frames), HEADLINE, Settings())


def sentences(ranks=None, sensitivity=None, config=None) -> dict[str, str]:  # noqa: F811
    none = results.empty("sensitivity")
    worth = pd.DataFrame({"choice": []})
    told = robustness_tables.findings(
        results.empty("ranks") if ranks is None else ranks,
        none if sensitivity is None else sensitivity,
        worth,
        config or without_sweeps(),
    )
    return {finding.about: finding.text for finding in told}


def without_sweeps() -> dict:
    config = small_config()  # noqa: F811
    put(config, "sweeps", None)
    return config


def test_sentences_count_datasets():
    told = sentences(ranked(12, variant="resampled"))
    assert told == {"Ranks, Spirals, random radius": "On seen clusters ARMED is best in 12 of 20 datasets."}
    told = sentences(ranked(5, variant="resampled"))
    expected = "On seen clusters Conventional is best in 15 of 20 datasets, ARMED in 5."
    assert told["Ranks, Spirals, random radius"] == expected


def test_sentences_about_one_dataset_and_stand_ins_say_so():
    told = sentences(ranked(12, study="mci_conversion", metric="auroc", source="stand-in"))
    (about,) = told
    assert about.endswith("(stand-in data)") and "12 of 20 seeds" in told[about]
    assert "nothing is said of other samples" in told[about]


def test_new_datasets_are_told_of_where_there_are_such():
    told = sentences(pd.concat([ranked(20), ranked(3, variant="resampled")]))
    assert "Conventional is best in 17 of 20 datasets" in told["Ranks, Spirals, random radius"]


@pytest.mark.parametrize(
    ("gain", "expected"),
    [
        (0.05, "at 2 of 2 settings (interval clear of 0); at none the reverse holds."),
        (
            -0.05,
            "at 0 of 2 settings (interval clear of 0), and the reverse holds at lambda_g (adversary) 0.5 (−0.050) and",
        ),
        (0.0, "at 0 of 2 settings (interval clear of 0); at none the reverse holds."),
    ],
)
def test_sentences_about_sweeps_go_both_ways(gain, expected):
    base = np.array([0.6, 0.7, 0.8, 0.75])
    frame = table(
        swept("lambda_g", "0.5", "conventional", base),
        *(swept("lambda_g", level, "armed", base + gain) for level in ("0.5", "2")),
    )
    config = small_config()  # noqa: F811
    for factor in ("lambda_K", "lambda_F", "prior_scale", "n_clusters", "n_per_cluster", "ratio_sd"):
        put(config, f"sweeps.{factor}", [])
    put(config, "sweeps.lambda_g", [2.0])
    assert expected in sentences(sensitivity=frame, config=config)["One thing changed at a time, deconfounded"]


def test_the_sweep_table_has_differences_and_shares():
    frame = table(
        swept("lambda_g", "0.5", "armed", [0.8, 0.9]),
        swept("lambda_g", "2", "armed", [0.5, 0.6]),
        swept("lambda_g", "0.5", "conventional", [0.7, 0.8]),
        swept("lambda_g", "2", "armed", [1, 3, 3, 3], "probe_rank", "seen"),
    )
    made = robustness_tables.sweeps_table(frame, OWN).set_index("Level")
    assert list(made.index) == ["0.5 (study's own)", "2"]
    assert made.loc["2", "ARMED - conventional, deconfounded"].startswith("−0.200")
    assert made.loc["0.5 (study's own)", "ARMED - conventional, deconfounded"].startswith("+0.100")
    assert made.loc["2", "A probe wins: ARMED"].startswith("25% [")
    assert made.loc["2", "A probe wins: Conventional"] == "–"
    assert robustness_tables.sweeps_table(results.empty("sensitivity"), OWN).empty


def test_the_rank_table_lists_who_is_not_ranked():
    summary = results.empty("summary")
    named = {"study": "spirals_radius", "source": "simulated", "variant": "main", "partition": "seen"}
    rest = {"metric": "accuracy", "ci_method": "corrected", "mean": 0.6, "ci_low": 0.5, "ci_high": 0.7, "n_seeds": 3}
    lines = [{**named, **rest, "n_folds": 2, "model": m} for m in ("conventional", "armed", "mixedlm")]
    made = robustness_tables.ranks_table(ranked(12), pd.concat([summary, pd.DataFrame(lines)])).set_index("Model")
    assert made.loc["ARMED", "Best in"] == "60% [39, 78]" and made.loc["ARMED", "Mean rank"] == "1.4"
    assert made.loc["ARMED", "Over"] == "20 seeds of one dataset" and made.loc["ARMED", "Of"] == "2"
    assert made.loc["Linear mixed model", "Best in"] == "not ranked"


class TestReport:
    def test_the_part_is_in_the_page(self, folder, config, tmp_path):  # noqa: F811
        build_report(folder, config, tmp_path / "report.html")
        page = (tmp_path / "report.html").read_text(encoding="utf-8")
        section = page[page.index('<section id="robustness">') :]
        section = section[: section.index("</section>")]
        told = " ".join(re.sub(r"<[^>]+>", " ", section).split())
        assert "What each of the authors&#39; choices is worth" in told and "cannot be toggled" in told
        assert "One thing changed at a time, probes" in told and 'href="#robustness"' in page
        values = robustness_tables.report_values(folder, config)
        assert [name for name, *_ in values["tables"]] == ["robustness_ranks", "robustness_sweeps", "author_choices"]
        assert all(finding.text.replace("'", "&#39;") in told for finding in values["findings"])

    def test_nothing_ranked_nothing_shown(self, tmp_path):
        assert robustness_tables.report_values(tmp_path, without_sweeps()) == {}

    def test_tables_are_written(self, folder, config):  # noqa: F811
        names = {path.name for path in write_tables(folder, config)}
        wanted = ("robustness_ranks", "robustness_sweeps", "author_choices")
        assert {f"{name}.{kind}" for name in wanted for kind in ("tsv", "html", "tex")} <= names


def test_choices_are_laid_out(found):  # noqa: F811
    made = robustness_tables.choices_table(found["worth"]).set_index(["The authors' way", "Model"])
    defect = made.loc[("Labels of other samples", "Meta-learning (MLDG)")]
    expected = found["worth"].set_index("choice").loc["label_defect", "difference"]
    assert defect["Authors' way - other"].startswith(f"−{-expected:.3f} [") and "of one dataset" in defect["Over"]
    importance = made.loc[("Importance at the mean point", "Conventional")]
    assert importance["Difference in"] == "share in which a probe wins" and importance["S.d. over seeds, other"] == "–"
