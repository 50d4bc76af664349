# What the rules of studies on images are given: volumes and their slices, movies and their frames.
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
    """Registration, and stand-ins that need it, take long; without it there is work for one process.

    A number, and not all cores: on a cluster there is no such thing. Snakemake takes fewer where a run has fewer.
    """
    return 1 if slice_settings(wildcards)["registration"] == "none" else 8


def slicing_memory(wildcards):
    return 2000 + 1000 * slicing_processes(wildcards)


def movie_settings(wildcards):
    """What stand-in movies are made by."""
    data = config["studies"][wildcards.study]["data"]
    return {"image_size": data["image_size"], **data["stand_in"]}


def movies(wildcards):
    """The movies of a study, or its table of images: the user's, or a stand-in."""
    own = configuration.has_real_data(config, wildcards.study)
    return config["studies"][wildcards.study]["data"]["path"] if own else f"results/raw/{wildcards.study}"


def frame_settings(wildcards):
    return configuration.frame_settings(config, wildcards.study)


def coded():
    """Studies and models whose networks code images: those without a fit of their own too, whose effects differ."""
    studies = [study for study in STUDIES if study in registry.AUTOENCODED]
    return [(study, model) for study in studies for model in configuration.selected_models(config, study)]


def codes(wildcards):
    """What the networks of a study made of its images."""
    return there(f"results/latents/{s}/{model}.npz" for s, model in coded() if s == wildcards.study)


def of_coded(file):
    """A file of what is read off the networks of these."""
    return there(f"results/parts/{study}/{model}/{file}" for study, model in coded())
