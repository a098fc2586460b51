"""The JSON Schemas are up to date and part of both distributions."""

import importlib.util
import tomllib
from importlib.resources import files
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from tests.documents import SCHEMAS, schema

ROOT = Path(__file__).parents[2]


def test_schemas_are_up_to_date() -> None:
    path = ROOT / "docs" / "generate_schemas.py"
    spec = importlib.util.spec_from_file_location("schemas", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    folder = files("revalid") / "schemas"
    written = {file.name.removesuffix(".json"): file.read_text() for file in folder.iterdir()}
    assert written == module.schemas(), "run python docs/generate_schemas.py"
    assert set(written) == set(SCHEMAS)


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_is_one(name: str) -> None:
    Draft202012Validator.check_schema(schema(name))


def test_both_distributions_have_them() -> None:
    whole, client = (
        tomllib.loads((ROOT / path).read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
        for path in ("pyproject.toml", "client/pyproject.toml")
    )
    assert whole["packages"] == ["revalid"]
    assert client["force-include"]["../revalid/schemas"] == "revalid/schemas"
