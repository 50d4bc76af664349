"""Configurations to edit in tests."""

from __future__ import annotations

from pathlib import Path

from armed import config as configuration
from armed.errors import ConfigError

ROOT = Path(__file__).resolve().parent.parent
DEFAULT = ROOT / "config" / "config.yaml"
OVERLAYS = [DEFAULT.with_name("smoke.yaml"), DEFAULT.with_name("paper.yaml")]
SPIRALS = "studies.spirals_radius"


def put(config: dict, key: str, value: object) -> None:
    """Set the value of a dotted key."""
    *path, last = key.split(".")
    for part in path:
        config = config[part]
    config[last] = value


def problems(config: dict) -> list[str]:
    """What `armed.config.check` complains of, one sentence each."""
    try:
        configuration.check(config)
    except ConfigError as error:
        return [line.removeprefix("  - ") for line in str(error).splitlines()[1:]]
    return []
