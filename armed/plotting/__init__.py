"""Figures: tables of `results/` in, matplotlib figures out. Draws nothing on screen and keeps no global state.

`armed.plotting.catalogue` names the figures of a study without loading matplotlib, so that a workflow can ask.
"""
