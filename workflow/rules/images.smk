rule stand_in_volumes:
    output:
        directory("results/raw/{study}"),
    log:
        "results/logs/stand_in_volumes/{study}.log",
    benchmark:
        "results/timings/stand_in_volumes/{study}.tsv"
    wildcard_constraints:
        study="|".join(registry.IMAGES),
    priority: 10
    conda:
        "../envs/armed.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(60),
    params:
        settings=lambda wildcards: config["studies"][wildcards.study]["data"]["stand_in"],
        code=code("armed.data.brain_standin"),
    message:
        "No volumes are where data.path says: making stand-ins for {wildcards.study}."
    script:
        "../scripts/stand_in_volumes.py"


rule slices:
    input:
        tree=volumes,
        rejected=rejected,
        template=workflow.source_path("../report/slices.html.j2"),
        style=workflow.source_path("../report/page.css"),
    output:
        directory("results/slices/{study}"),
    log:
        "results/logs/slices/{study}.log",
    benchmark:
        "results/timings/slices/{study}.tsv"
    wildcard_constraints:
        study="|".join(registry.IMAGES),
    priority: 10
    conda:
        "../envs/armed.yaml"
    threads: slicing_processes
    resources:
        mem_mb=growing(slicing_memory),
        runtime=growing(600),
    params:
        settings=slice_settings,
        checkpoints="results/checkpoints/slices/{study}",
        code=code("armed.jobs.slices"),
    message:
        "Cutting slices from the volumes of {wildcards.study}."
    script:
        "../scripts/slices.py"


rule saliency:
    input:
        data="results/data/{study}.npz",
        splits="results/splits/{study}.parquet",
        run=weights,
        inference=inference,
    output:
        metrics="results/parts/{study}/{model}/saliency_metrics.tsv",
        cluster_metrics="results/parts/{study}/{model}/saliency_cluster_metrics.tsv",
        maps="results/saliency/{study}/{model}.npz",
    log:
        "results/logs/saliency/{study}/{model}.log",
    benchmark:
        "results/timings/saliency/{study}/{model}.tsv"
    wildcard_constraints:
        study="|".join(registry.IMAGES),
    conda:
        "../envs/armed.yaml"
    threads: torch_threads
    resources:
        mem_mb=growing(2000),
        runtime=growing(30),
    params:
        settings=model_settings,
        source=source,
        saliency=lambda wildcards: config["studies"][wildcards.study]["saliency"],
        code=lambda wildcards: code("armed.jobs.saliency", method(wildcards)),
    message:
        "Looking where the networks of {wildcards.model} look in {wildcards.study}."
    script:
        "../scripts/saliency.py"
