# How far the paper's conclusions depend on the seed, on the data and on settings.
rule ranks:
    input:
        "results/metrics.tsv",
    output:
        "results/ranks.tsv",
    log:
        "results/logs/ranks.log",
    benchmark:
        "results/timings/ranks.tsv"
    conda:
        "../envs/armed.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        config=config,
        code=code("armed.jobs.robustness"),
    message:
        "Ranking the methods in every seed."
    script:
        "../scripts/ranks.py"
