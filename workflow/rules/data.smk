rule simulate:
    output:
        "results/data/{study}.npz",
    params:
        settings=data_settings,
        code=data_code,
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
    message:
        "Simulating the data of {wildcards.study}."
    script:
        "../scripts/simulate.py"


rule split:
    input:
        "results/data/{study}.npz",
    output:
        "results/splits/{study}.parquet",
    params:
        settings=split_settings,
        code=code("armed.jobs.data"),
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
    message:
        "Making the folds of {wildcards.study}."
    script:
        "../scripts/split.py"
