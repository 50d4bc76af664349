# All tables of a run: assembled, summarised, and the paper's claims judged by them.
rule collect:
    input:
        unpack(parts),
    output:
        **{table: f"results/{table}.tsv" for table in [*TABLES, "univariate", "auroc_intervals"]},
    log:
        "results/logs/collect.log",
    benchmark:
        "results/timings/collect.tsv"
    conda:
        "../envs/armed.yaml"
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        code=code("armed.jobs.collect"),
    message:
        "Putting the tables of all models together."
    script:
        "../scripts/collect.py"


rule tuning:
    input:
        tuned_runs,
    output:
        "results/tuning.tsv",
    log:
        "results/logs/tuning.log",
    benchmark:
        "results/timings/tuning.tsv"
    conda:
        "../envs/armed.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        code=code("armed.jobs.tuning"),
    message:
        "Collecting the searches for hyperparameters."
    script:
        "../scripts/tuning.py"


rule summarise:
    input:
        metrics="results/metrics.tsv",
        cluster_metrics="results/cluster_metrics.tsv",
        importance="results/importance.tsv",
        auroc_intervals="results/auroc_intervals.tsv",
        random_effects=claimed_effects,
        univariate="results/univariate.tsv",
        draws=drawn,
        balanced=balanced,
        published=workflow.source_path("../../config/published_results.csv"),
        claims=workflow.source_path("../../config/claims.yaml"),
    output:
        summary="results/summary.tsv",
        comparison="results/comparison.tsv",
        paired_tests="results/paired_tests.tsv",
        claims="results/claims.tsv",
        deconfounding="results/deconfounding.tsv",
    log:
        "results/logs/summarise.log",
    benchmark:
        "results/timings/summarise.tsv"
    conda:
        "../envs/armed.yaml"
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(20),
    params:
        config=config,
        code=code("armed.jobs.collect"),
    message:
        "Summarising, testing, judging claims and comparing with the published numbers."
    script:
        "../scripts/summarise.py"
