rule figures:
    input:
        # Stands for all tables that are read: each edge to a job with thousands of inputs makes planning longer.
        "results/summary.tsv",
        boundaries,
        predicted,
        maps,
        codes,
        recovered,
        "results/data/{study}.npz",
    output:
        touch("results/figures/.{study}.done"),
    log:
        "results/logs/figures/{study}.log",
    benchmark:
        "results/timings/figures/{study}.tsv"
    conda:
        "../envs/armed.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        tables=[f"results/{name}.tsv" for name in DRAWN],
        config=config,
        code=code("armed.plotting.draw"),
    message:
        "Drawing the figures of {wildcards.study}."
    script:
        "../scripts/figures.py"


rule report:
    input:
        expand("results/{table}.tsv", table=TABLES),
        expand("results/{name}.tsv", name=["summary", "comparison", "paired_tests", "claims", "deconfounding"]),
        "results/tuning.tsv",
        "results/univariate.tsv",
        "results/ranks.tsv",
        "results/figures/.robustness.done",
        recovered,
        figures_done,
        data_checks,
        slice_folders,
        [workflow.source_path(f"../report/{name}") for name in PAGE],
        workflow.source_path("../../config/claims.yaml"),
    output:
        report=report(
            "results/report.html",
            caption="../report/page.rst",
            category="All studies",
            labels={"page": "report for readers"},
        ),
        environment="results/environment.json",
        tables=report(
            directory("results/tables"),
            patterns=[f"{{study,{name}}}_{{table}}.html" for name in [*STUDIES, "claims", "robustness", "author"]],
            caption="../report/table.rst",
            category=of_study,
            subcategory="Tables",
            labels={"table": "{table}"},
        ),
    log:
        "results/logs/report.log",
    benchmark:
        "results/timings/report.tsv"
    conda:
        "../envs/armed.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        config=config,
        code=code("armed.report", "armed.jobs.environment"),
        sources=SOURCES,
        raw=raw_files,
    message:
        "Writing the tables and the report."
    script:
        "../scripts/report.py"
