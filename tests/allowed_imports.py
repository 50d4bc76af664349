"""Who may import whom, and what must stay quick to load: `test_architecture` reads the imports and holds them against this."""

from __future__ import annotations

# Who imports whom. A name stands for the module or package and everything in it. Imports inside functions count.
# Ids, errors, seeds and tables.
RECORDS = {"errors", "files", "registry", "labels", "reproducibility", "schemas", "results"}
NETWORKS = {"errors", "layers", "losses", "models"}
STACKS = RECORDS | NETWORKS | {"data", "metrics", "stack_sizes", "convolutional", "parameters", "stack", "optimisers"}
STACKS |= {"programs", "batching", "pool", "torch_files"}
TRAINING = STACKS | {"replicas", "epochs", "step_cache", "compiled", "engines", "loop", "training_checks", "training"}
FITTING = TRAINING | {"method", "soft_membership", "stack_method", "cluster_inference", "interpretation"}
TABLES = RECORDS | {"cells", "metrics", "weighted_metrics", "intervals", "statistics", "scoring", "comparison"}
TABLES |= {"bootstrap", "associations", "data", "delong", "auroc_intervals"}
LATENTS = {"latents"}
SHOWING = TABLES | LATENTS | {"claims", "config", "plotting", "findings", "tables", "clinical_tables", "claims_tables"}
JUDGING = {"claims", "claim_evidence", "claim_rules"}
SHOWING |= {"image_tables", "autoencoder_tables", "pages"}
SHOWING |= {"robustness", "sensitivity", "author_choices", "robustness_tables", "sweep_config"}
AROUND = {"checksums", "own_studies", "run_folder"}  # what jobs do beside their work
MAY_IMPORT = {
    "names": set(),
    "errors": {"names"},
    "entries": set(),
    "registry": {"entries", "errors"},
    "labels": {"errors", "registry"},
    "candidates": {"errors"},
    "tuning_config": {"errors", "registry", "candidates"},
    "own_studies": {"errors", "names", "registry"},
    "sweep_config": {"registry"},
    "config_rules": {"errors", "registry", "own_studies", "tuning_config", "sweep_config"},
    "config_checks": {"errors", "registry", "own_studies", "config_rules"},
    "config": {"errors", "registry", "own_studies", "config_checks", "config_rules", "tuning_config", "sweep_config"},
    "reproducibility": {"errors"},
    "schemas": {"errors", "registry", "labels"},
    "files": set(),
    "same": {"files", "torch_files"},
    "tolerance": set(),
    "checksums": {"errors", "files"},
    "run_folder": {"errors"},
    "torch_files": {"errors"},
    "retrieval": {"errors", "files", "reproducibility"},
    "results": {"errors", "files", "registry", "labels", "reproducibility", "schemas"},
    "cells": {"errors"},
    "metrics": {"errors", "cells"},
    "statistics": RECORDS | {"metrics", "intervals"},
    "scoring": TABLES,
    "comparison": TABLES,
    "intervals": set(),
    "weighted_metrics": {"cells", "metrics"},
    "bootstrap": TABLES,
    "associations": TABLES,
    "data": {"errors", "files", "names", "registry", "reproducibility", "data"},
    "layers": {"errors", "layers"},
    "losses": {"errors"},
    "models": NETWORKS,
    "stack_sizes": set(),
    "replicas": {"data", "errors", "losses"},
    "convolutional": set(),
    "pool": {"convolutional"},
    "parameters": {"errors"},
    "stack": STACKS,
    "optimisers": STACKS,
    "programs": STACKS,
    "batching": set(),
    "step_cache": {"files"},
    "epochs": STACKS,
    "compiled": STACKS | {"epochs", "step_cache"},
    "engines": STACKS | {"epochs", "compiled"},
    "loop": STACKS | {"epochs", "cells"},
    "training_checks": {"data", "errors"},
    "training": TRAINING,
    "soft_membership": {"data"},
    "method": RECORDS | {"data", "soft_membership"},
    "stack_method": TRAINING | {"method"},
    "cluster_inference": TRAINING | {"method", "stack_method"},
    "interpretation": FITTING,
    "tuning": FITTING | {"candidates", "cells"},
    "recovery": set(),
    "univariate": {"registry", "data"},
    "saliency": {"convolutional", "errors", "models"},
    "methods": FITTING,
    "tabular": FITTING | {"methods"},
    "sklearn": FITTING | {"methods", "tabular"},
    "plotting": SHOWING,
    "findings": SHOWING,
    "tables": SHOWING,
    "clinical_tables": SHOWING,
    "image_tables": SHOWING,
    "autoencoder_tables": SHOWING,
    "claims": {"errors", "registry", "schemas", "config_checks"},
    "claim_evidence": TABLES | {"claims"},
    "claim_rules": TABLES | {"claims", "claim_evidence"},
    "claims_tables": SHOWING,
    "robustness": TABLES,
    "sensitivity": TABLES | {"sweep_config"},
    "author_choices": TABLES | {"sweep_config", "sensitivity"},
    "robustness_tables": SHOWING,
    "delong": {"errors"},
    "auroc_intervals": TABLES,
    "latents": set(),
    "pages": SHOWING,
    "absent": SHOWING | {"retrieval"},
    "report_figures": SHOWING,
    "report_run": SHOWING,
    "report_study": SHOWING | {"absent", "report_figures"},
    "report": SHOWING | {"report_figures", "report_run", "report_study"},
    "archive": SHOWING | {"archive", "jobs", "own_studies", "report", "retrieval"},
    "verify": {"archive", "errors", "files"},
    "data_warnings": {"errors", "data"},
    "data_checks": {"errors", "files", "labels", "data", "data_warnings", "pages", "tables"},
    "jobs": FITTING
    | SHOWING
    | JUDGING
    | AROUND
    | {"jobs", "retrieval", "data_checks", "recovery", "univariate", "saliency"}
    | {"same"},
    "repetition": RECORDS | {"archive", "jobs", "own_studies", "repetition", "same", "tolerance"},
    "reproduce": {"errors", "files", "repetition", "tolerance"},
    "": set(),  # armed/__init__.py imports lazily, by name
}
FOR_BASELINES = FITTING | {"methods"}
# Loading these loads none of HEAVY (the .smk files parse anew for each cluster job), or no torch.
LIGHT = (
    "armed",
    "armed.errors",
    "armed.registry",
    "armed.config",
    "armed.reproducibility",
    "armed.retrieval",
    "armed.claims",
    "armed.run_folder",
)
NO_TORCH = TABLES | SHOWING | JUDGING | {"absent", "report", "report_figures", "report_run", "report_study"}
NO_TORCH |= {"data_warnings", "data_checks", "method", "candidates", "tuning", "retrieval", "recovery", "univariate"}
NO_TORCH |= {"archive", "verify"}
