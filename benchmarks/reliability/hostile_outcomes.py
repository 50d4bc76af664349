"""What can come of an attack, in the words of the table."""

from __future__ import annotations

CANARY = "canary"
REFUSED, TEXT, HARMLESS = "refused with a sentence", "shown as text", "harmless"
RUN_BY_SNAKEMAKE = "run by Snakemake: a configuration is trusted"
HELD = (REFUSED, TEXT, HARMLESS)
"""Outcomes that an attack should have."""
