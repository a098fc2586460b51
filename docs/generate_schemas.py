"""Write ``revalid/schemas/*.json`` from the models: ``python docs/generate_schemas.py``."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from revalid.jobs.configuration import Configuration
from revalid.jobs.events import Event
from revalid.jobs.job import Job
from revalid.jobs.ledger.deliveries import WebhookPayload
from revalid.jobs.result import JobResult
from revalid.producer.report.model import BatchReport

TARGET = Path(__file__).parents[1] / "revalid" / "schemas"
Mode = Literal["validation", "serialization"]
MODELS: dict[str, tuple[Any, Mode]] = {
    "job": (Job, "validation"),
    "result": (JobResult, "serialization"),
    "event": (Annotated[Event, Field(discriminator="type")], "serialization"),
    "batch": (BatchReport, "serialization"),
    "webhook": (WebhookPayload, "serialization"),
    "configuration": (Configuration, "validation"),
}


class _Documents(GenerateJsonSchema):
    """A document has every field of its model, but for those that it leaves out when empty."""

    def field_is_required(self, field: Any, total: bool) -> bool:
        if self.mode == "serialization" and field["type"] != "typed-dict-field":
            return "serialization_exclude_if" not in field
        return super().field_is_required(field, total)

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def schemas() -> dict[str, str]:
    """The text of each file, by its name without ``.json``."""
    texts = {}
    for name, (model, mode) in MODELS.items():
        schema = TypeAdapter(model).json_schema(mode=mode, schema_generator=_Documents)
        if name == "batch":  # `--json` leaves them out
            schema["$defs"]["Row"]["required"].remove("steps")
        document = {"$schema": _Documents.schema_dialect, **schema, "title": f"revalid {name}"}
        texts[name] = json.dumps(document, indent=1) + "\n"
    return texts


if __name__ == "__main__":
    TARGET.mkdir(exist_ok=True)
    for name, text in schemas().items():
        (TARGET / f"{name}.json").write_text(text)
