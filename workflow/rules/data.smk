rule simulate:
    output:
        "results/data/{study}.npz",
    log:
        "results/logs/simulate/{study}.log",
    benchmark:
        "results/timings/simulate/{study}.tsv"
    conda:
        "../envs/armed.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        settings=data_settings,
        code=data_code,
    message:
        "Simulating the data of {wildcards.study}."
    script:
        "../scripts/simulate.py"


rule split:
    input:
        "results/data/{study}.npz",
    output:
        "results/splits/{study}.parquet",
    log:
        "results/logs/split/{study}.log",
    benchmark:
        "results/timings/split/{study}.tsv"
    conda:
        "../envs/armed.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        settings=split_settings,
        code=code("armed.jobs.data"),
    message:
        "Making the folds of {wildcards.study}."
    script:
        "../scripts/split.py"
