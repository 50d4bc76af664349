rule figures:
    input:
        expand("results/{name}.tsv", name=["summary", "comparison", "importance", "random_effects", "deconfounding"]),
        expand("results/{name}.tsv", name=["metrics", "univariate"]),
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
        mem_mb=2000,
        runtime=10,
    params:
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
        workflow.source_path("../report/report.html.j2"),
        workflow.source_path("../report/robustness.html.j2"),
        workflow.source_path("../report/page.css"),
        workflow.source_path("../../config/claims.yaml"),
    output:
        report="results/report.html",
        tables=directory("results/tables"),
    log:
        "results/logs/report.log",
    benchmark:
        "results/timings/report.tsv"
    conda:
        "../envs/armed.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        config=config,
        code=code("armed.report"),
    message:
        "Writing the tables and the report."
    script:
        "../scripts/report.py"
