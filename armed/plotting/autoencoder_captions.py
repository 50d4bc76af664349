"""Which figures a study has whose networks are autoencoders, and what their captions say. Loads no matplotlib."""

from __future__ import annotations

from collections.abc import Mapping

from armed import labels


def wanted(study: str, block: Mapping, *, with_effects: bool, is_stand_in: bool) -> list[tuple[str, str]]:
    """List kinds and captions in the order of the report.

    Parameters
    ----------
    study : str
    block : mapping
        The study's block of the configuration.
    with_effects : bool
        Whether a model is run that has random effects.
    is_stand_in : bool
        Whether the true phenotype of every cell is known.

    Returns
    -------
    list of tuple of str
    """
    found = [("reconstruction_errors", _errors(study, block, with_effects))]
    if with_effects:
        found += [
            ("reconstructions", _reconstructions(study, block)),
            ("under_clusters", _under_clusters(study, block)),
            ("image_statistics", _image_statistics(study, block)),
        ]
    return [
        *found,
        ("latent_maps", _latent_maps(study, block)),
        ("group_distances", _group_distances(study, block)),
        ("latent_readings", _latent_readings(study, block, is_stand_in)),
    ]


def _words(study: str) -> tuple[str, str]:
    return labels.noun("cluster", study), labels.noun("group", study)


def _fits(block: Mapping) -> str:
    seeds, folds = block["seeds"], block["folds"]
    return f"{seeds} seed{'s' * (seeds != 1)} x {folds} fold{'s' * (folds != 1)}"


def _errors(study: str, block: Mapping, with_effects: bool) -> str:
    side = block["data"]["image_size"]
    of_effects = (
        f" Mixed: with the own {_words(study)[0]}'s random effects where it is seen, with those that the Z-predictor infers "
        "where it is not (randomised Z: with random ones); fixed: without."
        if with_effects
        else ""
    )
    return (
        f"Mean squared error of what {block['network']['latent']} latent numbers give back of {side} x {side} pixels, "
        f"brightness 0 to 1; {_fits(block)}.{of_effects}"
    )


def _reconstructions(study: str, block: Mapping) -> str:
    cluster, group = _words(study)
    classes = " or ".join(labels.class_names(study, in_full=True))
    return (
        f"Test images of seen {cluster}s, of the first seed and fold: {block['shown']} at most, the first of each {group} by "
        f"name, of different {cluster}s as far as there are; above each its {group}, class ({classes}) and {cluster}. Mixed − "
        f"fixed is what the random effects of its {cluster} add. One grey scale and one colour scale for all."
    )


def _under_clusters(study: str, block: Mapping) -> str:
    cluster, _ = _words(study)
    spread = block["settings"].get("armed", {}).get("scale_bias_prior_sd")
    of_prior = f" (prior s.d. {spread:g})" if spread else ""
    return (
        f"One latent vector drawn as each seen {cluster} would show it: only the random scale and bias of the convolutions"
        f"{of_prior} change. What they learnt is of the {cluster} if the cell stays the same cell."
    )


def _image_statistics(study: str, block: Mapping) -> str:
    cluster, _ = _words(study)
    return (
        f"Statistics of test images and of their reconstructions by seen {cluster}; {_fits(block)}. Sharpness: variance of the "
        "Laplacian; signal to noise: mean to noise after Immerkaer's mask. An autoencoder smooths: compare how the points of "
        f"one colour differ between {cluster}s, not one colour with another. F is of one-way analyses of variance of cells' "
        f"means, averaged over fits; {cluster}s also differ in their cells, so that images without any batch effect would not "
        "have 1 either."
    )


def _latent_maps(study: str, block: Mapping) -> str:
    cluster, group = _words(study)
    return (
        f"Principal components of the {block['network']['latent']} standardised latents of test images, first seed and fold, "
        f"each model's own; shares of variance at the axes. Above coloured by {cluster}, below by {group}. Two components are "
        "part of the whole: what they do not show may still be there (see the linear probe)."
    )


def _group_distances(study: str, block: Mapping) -> str:
    cluster, group = _words(study)
    return (
        f"Euclidean distances between mean latents of test cells: of one {group} on different {cluster}s, and of different "
        f"{group}s on one {cluster}; {_fits(block)}. Latents that follow the cells and not the {cluster} have a ratio below 1."
    )


def _latent_readings(study: str, block: Mapping, is_stand_in: bool) -> str:
    cluster, group = _words(study)
    phenotype = "its true phenotype, which the generator of the stand-in knows" if is_stand_in else "its class"
    return (
        f"How well multinomial logistic regression tells the {cluster} of a test image from its latents, fitted to those of "
        f"the network's own training cells, beside chance and beside what knowing the {group} alone would tell; and the share "
        f"of the latents' variance that only the {cluster}, only the {group} and only the phenotype of a cell ({phenotype}) "
        f"explain (adjusted R²); 0 or less: none. What they share is in the table. {_fits(block)} of one dataset."
    )
