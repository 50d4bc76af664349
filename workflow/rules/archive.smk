rule archive:
    input:
        "results/report.html",
        expand("results/{table}.tsv", table=TABLES),
        expand("results/{name}.tsv", name=["summary", "comparison", "paired_tests", "claims", "deconfounding"]),
        expand("results/{name}.tsv", name=["tuning", "univariate", "auroc_intervals"]),
    output:
        "results/armed-bench-archive.zip",
    log:
        "results/logs/archive.log",
    benchmark:
        "results/timings/archive.tsv"
    conda:
        "../envs/armed.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(20),
    params:
        config=config,
        code=code("armed.archive.make"),
    message:
        "Putting what may leave into one file for deposit."
    script:
        "../scripts/archive.py"
