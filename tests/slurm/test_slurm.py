"""The workflow under a real Slurm, with the profile that is shipped: whole, killed, over limits, cancelled."""

from __future__ import annotations

import re

import pytest

from benchmarks.reliability import slurm as measurement

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("slurm"), pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("runs").resolve()


@pytest.fixture(scope="module")
def outcomes(slurm, folder):
    """All scenarios, run side by side: most of their time is waiting."""
    return measurement.run(slurm, folder)


def test_a_killed_run_resumes_and_gives_what_a_local_one_gives(outcomes, folder):
    jobs, told = outcomes["killed"].jobs, outcomes["killed"].told
    assert [job.state for job in jobs].count("CANCELLED") == 1
    assert {job.state for job in jobs} == {"COMPLETED", "CANCELLED"}
    assert len(jobs) <= 12 + 1  # the fit twice
    submitted = re.findall(r"SLURM jobid (\d+) \(log: \S+/rule_(\w+)/", told)
    assert {int(number) for number, _ in submitted} == {job.id for job in jobs}
    rules = "prepare split fit predict collect tuning summarise ranks robustness figures report"
    assert {rule for _, rule in submitted} == set(rules.split())
    assert (folder / "killed" / "results" / "report.html").is_file()
    tables = [(folder / run / "results" / "metrics.tsv").read_bytes() for run in ("killed", "reference")]
    assert tables[0] == tables[1]
    assert re.fullmatch(
        r"1 orphan cancelled, 0 partial files; resumed after epoch \d+; same metrics as without Slurm",
        outcomes["killed"].outcome,
    )


def test_limits_are_those_of_the_rules(outcomes):
    by_rule = dict(re.findall(r"rule_(\w+)/(?:\S+/)?(\d+)\.log", outcomes["killed"].told))
    limits = {job.id: (job.minutes, job.memory) for job in outcomes["killed"].jobs}
    assert limits[int(by_rule["fit"])] == (60, "2000M")
    assert limits[int(by_rule["summarise"])] == (20, "4000M")


def test_a_job_over_its_memory_is_tried_again_with_more(outcomes, folder):
    jobs = outcomes["over_memory"].jobs
    assert [job.memory for job in jobs] == ["250M", "1000M"]
    assert jobs[0].state in ("FAILED", "OUT_OF_MEMORY")
    assert jobs[1].state == "COMPLETED"
    assert (folder / "over_memory" / measurement.FIT / "run.json").is_file()


def test_a_job_over_its_time_is_tried_again_with_more(outcomes, folder):
    assert [(job.state, job.minutes) for job in outcomes["over_time"].jobs] == [("TIMEOUT", 1), ("COMPLETED", 31)]
    assert [job.memory for job in outcomes["over_time"].jobs] == ["2000M", "4000M"]  # as the rules say
    assert (folder / "over_time" / measurement.FIT / "run.json").is_file()


def test_a_cancelled_job_leaves_no_partial_output(outcomes, folder):
    (job,) = outcomes["cancelled"].jobs
    assert (job.state, job.partition) == ("CANCELLED", "gpu")
    assert "gpu:1" in outcomes["cancelled"].outcome  # what it had asked for
    assert measurement.left_over(folder / "cancelled") == []
    assert "Error in rule fit" in outcomes["cancelled"].told


def test_the_queue_is_empty_in_the_end(outcomes, slurm):
    assert slurm.tell("squeue", "--noheader", "--states=PD,R,CF,CG") == []


def test_the_table_has_a_row_for_each_scenario(outcomes):
    found = measurement.table(outcomes)
    assert list(found.scenario) == [s.__name__ for s in measurement.SCENARIOS]
    assert (found.jobs == found.job_ids.str.split().str.len()).all()
