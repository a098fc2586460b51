"""Validates documents against the JSON Schemas that the package contains."""

import json
from importlib.resources import files
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker

SCHEMAS = ("job", "result", "event", "batch", "webhook", "configuration")


def schema(name: str) -> dict[str, Any]:
    """Return one of :data:`SCHEMAS`."""
    document: dict[str, Any] = json.loads(
        (files("revalid") / "schemas" / f"{name}.json").read_text()
    )
    return document


def validate(name: str, document: Any) -> None:
    """Raise an error if a document does not match its schema."""
    validator = Draft202012Validator(schema(name), format_checker=FormatChecker())
    validator.validate(json.loads(json.dumps(document)))
