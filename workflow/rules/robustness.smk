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
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        config=config,
        code=code("armed.jobs.robustness"),
    message:
        "Ranking the methods in every seed."
    script:
        "../scripts/ranks.py"


if SWEPT:

    rule sweep:
        output:
            "results/parts/sweeps/{model}.tsv",
        log:
            "results/logs/sweep/{model}.log",
        benchmark:
            "results/timings/sweep/{model}.tsv"
        conda:
            TRAINING_ENVIRONMENT
        threads: 1
        resources:
            mem_mb=growing(3000),
            runtime=growing(60),
            gpu=int(config["device"] == "cuda"),
        params:
            settings=lambda wildcards: configuration.sweep_settings(config, wildcards.model),
            code=sweep_code,
        message:
            "Changing one thing of the confounded simulation at a time: {wildcards.model}."
        script:
            "../scripts/sweep.py"


if SWEPT or RECOVERY:

    rule sensitivity:
        input:
            sensitivity=sensitivity_parts,
        output:
            sensitivity="results/sensitivity.tsv",
        log:
            "results/logs/sensitivity.log",
        benchmark:
            "results/timings/sensitivity.tsv"
        conda:
            "../envs/armed.yaml"
        threads: 1
        resources:
            mem_mb=growing(1000),
            runtime=growing(10),
        params:
            code=code("armed.jobs.collect"),
        message:
            "Putting recovery and sweeps together."
        script:
            "../scripts/collect.py"


rule robustness:
    input:
        expand("results/{table}.tsv", table=["metrics", "summary", "ranks"]),
        recovered,
    output:
        touch("results/figures/.robustness.done"),
    log:
        "results/logs/robustness.log",
    benchmark:
        "results/timings/robustness.tsv"
    conda:
        "../envs/armed.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        config=config,
        code=code("armed.plotting.draw_robustness"),
    message:
        "Drawing ranks, sweeps and what the authors' choices are worth."
    script:
        "../scripts/robustness.py"
