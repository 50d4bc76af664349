rule fit:
    input:
        data="results/data/{study}.npz",
        splits="results/splits/{study}.parquet",
    output:
        directory("results/runs/{study}/{model}"),
    log:
        "results/logs/fit/{study}/{model}.log",
    benchmark:
        "results/timings/fit/{study}/{model}.tsv"
    conda:
        TRAINING_ENVIRONMENT
    threads: torch_threads
    resources:
        mem_mb=growing(fit_memory),
        runtime=growing(60),
        gpu=int(config["device"] == "cuda"),
    params:
        settings=model_settings,
        method=method,
        code=fit_code,
        checkpoints="results/checkpoints/{study}/{model}",
    message:
        "Fitting {wildcards.model} on {wildcards.study}."
    script:
        "../scripts/fit.py"


use rule fit as infer_clusters with:
    output:
        directory("results/runs/{study}/cluster_inference"),
    log:
        "results/logs/infer_clusters/{study}.log",
    benchmark:
        "results/timings/infer_clusters/{study}.tsv"
    params:
        settings=inference_settings,
        method="armed.cluster_inference:ClusterInference",
        code=code(*reproducibility.sources_of_fit("armed.cluster_inference")),
        checkpoints="results/checkpoints/{study}/cluster_inference",
    message:
        "Fitting the Z-predictor of {wildcards.study}."


rule predict:
    input:
        data="results/data/{study}.npz",
        splits="results/splits/{study}.parquet",
        run=weights,
        inference=inference,
    output:
        predictions="results/predictions/{study}/{model}.parquet",
        boundaries="results/boundaries/{study}/{model}.parquet",
        metrics="results/parts/{study}/{model}/metrics.tsv",
        cluster_metrics="results/parts/{study}/{model}/cluster_metrics.tsv",
        thresholds="results/parts/{study}/{model}/thresholds.tsv",
        importance="results/parts/{study}/{model}/importance.tsv",
        random_effects="results/parts/{study}/{model}/random_effects.tsv",
        draws="results/parts/{study}/{model}/draws.parquet",
    log:
        "results/logs/predict/{study}/{model}.log",
    benchmark:
        "results/timings/predict/{study}/{model}.tsv"
    conda:
        "../envs/armed.yaml"
    threads: torch_threads
    resources:
        mem_mb=growing(2000),
        runtime=growing(30),
    params:
        settings=model_settings,
        method=method,
        scored=scored,
        source=source,
        unseen_seeds=config["predictions"]["unseen_seeds"],
        draws=config["statistics"]["bootstrap"],
        code=predict_code,
    message:
        "Predicting with {wildcards.model} on {wildcards.study}, and scoring."
    script:
        "../scripts/predict.py"
