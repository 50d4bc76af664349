if STAND_INS:

    rule stand_in:
        output:
            expand("results/raw/adnimerge/{dataset}/{file}", dataset=STAND_INS, file=["ADNIMERGE.csv", "truth.json"]),
        log:
            "results/logs/stand_in.log",
        benchmark:
            "results/timings/stand_in.tsv"
        conda:
            "../envs/armed.yaml"
        threads: 1
        resources:
            mem_mb=growing(2000),
            runtime=growing(10),
        params:
            datasets=list(STAND_INS),
            code=code("armed.data.adni_visits"),
        message:
            "No ADNIMERGE.csv is where data.path says: drawing stand-ins."
        script:
            "../scripts/stand_in.py"


checkpoint retrieve:
    output:
        "results/raw/{name}.json",
    log:
        "results/logs/retrieve/{name}.log",
    benchmark:
        "results/timings/retrieve/{name}.tsv"
    conda:
        "../envs/armed.yaml"
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        mirror=str(MIRROR) if MIRROR else None,
        files=lambda wildcards: [file.sha256 for file in retrieval.files_of(wildcards.name)],
        again=lambda wildcards: retrieval.failed_before(f"results/raw/{wildcards.name}.json"),
    message:
        "Retrieving the open data '{wildcards.name}'."
    script:
        "../scripts/retrieve.py"


rule prepare:
    input:
        raw,
    output:
        "results/data/{study}.npz",
    log:
        "results/logs/prepare/{study}.log",
    benchmark:
        "results/timings/prepare/{study}.tsv"
    conda:
        "../envs/armed.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        settings=data_settings,
        code=data_code,
    message:
        "Preparing the data of {wildcards.study}."
    script:
        "../scripts/prepare.py"


rule check_data:
    input:
        workflow.source_path("../report/data_check.html.j2"),
        workflow.source_path("../report/page.css"),
        data="results/data/{study}.npz",
    output:
        "results/data_checks/{study}.html",
    log:
        "results/logs/check_data/{study}.log",
    benchmark:
        "results/timings/check_data/{study}.tsv"
    conda:
        "../envs/armed.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        source=source,
        code=code("armed.data_checks"),
    message:
        "Checking the data of {wildcards.study}."
    script:
        "../scripts/check_data.py"


rule split:
    input:
        data="results/data/{study}.npz",
        check=data_check,
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
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        settings=split_settings,
        code=code("armed.jobs.data"),
    message:
        "Making the folds of {wildcards.study}."
    script:
        "../scripts/split.py"
