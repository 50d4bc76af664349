rule univariate:
    input:
        data="results/data/{study}.npz",
        check=data_check,
    output:
        "results/univariate/{study}.tsv",
    log:
        "results/logs/univariate/{study}.log",
    benchmark:
        "results/timings/univariate/{study}.tsv"
    wildcard_constraints:
        study="mci_conversion|mci_probes",
    conda:
        "../envs/armed.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        source=source,
        code=code("armed.jobs.recovery", "baselines.mixed_logit"),
    message:
        "Fitting each feature of {wildcards.study} by itself."
    script:
        "../scripts/univariate.py"


if RECOVERY:

    rule recovery:
        output:
            "results/parts/recovery.tsv",
        log:
            "results/logs/recovery.log",
        benchmark:
            "results/timings/recovery.tsv"
        conda:
            TRAINING_ENVIRONMENT
        threads: 1
        resources:
            mem_mb=growing(3000),
            runtime=growing(30),
            gpu=int(config["device"] == "cuda"),
        params:
            settings=RECOVERY,
            code=code("armed.jobs.recovery", "armed.methods", "baselines.mixed_logit"),
        message:
            "Recovering the random effects of stand-ins of several sizes."
        script:
            "../scripts/recovery.py"
