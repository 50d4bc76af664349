# What the rules of studies on images are given.
def volumes(wildcards):
    """The volumes of a study: the user's, or a stand-in."""
    own = configuration.has_real_data(config, wildcards.study)
    return config["studies"][wildcards.study]["data"]["path"] if own else f"results/raw/{wildcards.study}"


def rejected(wildcards):
    """The list of slices that a person has rejected."""
    return config["studies"][wildcards.study]["data"]["rejected"] or []


def slice_settings(wildcards):
    return configuration.slice_settings(config, wildcards.study)


def looked_at():
    """Studies and models whose networks' attention is mapped: on images, and with weights of their own."""
    studies = [study for study in STUDIES if study in registry.IMAGES]
    return [(study, model) for study in studies for model in configuration.fit_models(config, study)]


def maps(wildcards):
    """Where the networks of a study on images look."""
    return there(f"results/saliency/{s}/{model}.npz" for s, model in looked_at() if s == wildcards.study)


def slice_folders(wildcards):
    """The slices that the studies on images are made from, which the report counts."""
    return [f"results/slices/{study}" for study in STUDIES if study in registry.IMAGES]


def slicing_processes(wildcards):
    """Registration, and stand-ins that need it, take long; without it there is work for one process."""
    return 1 if slice_settings(wildcards)["registration"] == "none" else workflow.cores or 1
