rule stand_in_movies:
    output:
        directory("results/raw/{study}"),
    log:
        "results/logs/stand_in_movies/{study}.log",
    benchmark:
        "results/timings/stand_in_movies/{study}.tsv"
    wildcard_constraints:
        study="|".join(registry.AUTOENCODED),
    priority: 10
    conda:
        "../envs/armed.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(60),
    params:
        settings=movie_settings,
        code=code("armed.data.cell_standin"),
    message:
        "No movies are where data.path says: making stand-ins for {wildcards.study}."
    script:
        "../scripts/stand_in_movies.py"


rule frames:
    input:
        source=movies,
        template=workflow.source_path("../report/frames.html.j2"),
        style=workflow.source_path("../report/page.css"),
    output:
        directory("results/frames/{study}"),
    log:
        "results/logs/frames/{study}.log",
    benchmark:
        "results/timings/frames/{study}.tsv"
    wildcard_constraints:
        study="|".join(registry.AUTOENCODED),
    priority: 10
    conda:
        "../envs/armed.yaml"
    threads: 1
    resources:
        mem_mb=growing(3000),
        runtime=growing(120),
    params:
        settings=frame_settings,
        code=code("armed.jobs.frames"),
    message:
        "Collecting the frames of {wildcards.study}."
    script:
        "../scripts/frames.py"


rule latents:
    input:
        data="results/data/{study}.npz",
        splits="results/splits/{study}.parquet",
        run=weights,
        inference=inference,
    output:
        metrics="results/parts/{study}/{model}/latents_metrics.tsv",
        cluster_metrics="results/parts/{study}/{model}/latents_cluster_metrics.tsv",
        draws="results/parts/{study}/{model}/latents_draws.parquet",
        latents="results/latents/{study}/{model}.npz",
    log:
        "results/logs/latents/{study}/{model}.log",
    benchmark:
        "results/timings/latents/{study}/{model}.tsv"
    wildcard_constraints:
        study="|".join(registry.AUTOENCODED),
    conda:
        "../envs/armed.yaml"
    threads: torch_threads
    resources:
        mem_mb=growing(2000),
        runtime=growing(60),
    params:
        settings=model_settings,
        method=method,
        source=source,
        shown=lambda wildcards: config["studies"][wildcards.study]["shown"],
        draws=config["statistics"]["bootstrap"],
        code=lambda wildcards: code("armed.jobs.latents", method(wildcards)),
    message:
        "Reading what the codes of {wildcards.model} hold in {wildcards.study}."
    script:
        "../scripts/latents.py"


rule auroc_intervals:
    input:
        data="results/data/{study}.npz",
        predictions="results/predictions/{study}/{model}.parquet",
    output:
        "results/parts/{study}/{model}/auroc_intervals.tsv",
    log:
        "results/logs/auroc_intervals/{study}/{model}.log",
    benchmark:
        "results/timings/auroc_intervals/{study}/{model}.tsv"
    wildcard_constraints:
        study="|".join(registry.AUTOENCODED),
    conda:
        "../envs/armed.yaml"
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        settings=model_settings,
        source=source,
        draws=config["statistics"]["bootstrap"],
        confidence=config["statistics"]["confidence"],
        code=code("armed.jobs.auroc_intervals"),
    message:
        "Intervals of the AUROC of {wildcards.model} in {wildcards.study}, by DeLong and by cells."
    script:
        "../scripts/auroc_intervals.py"
