"""Measurements of what the project withstands, at any size: kills, faults, hostile input, scale, repetition.

Each module has `measure`, and writes its table with ``python -m benchmarks.reliability.NAME --output FOLDER``.
"""
