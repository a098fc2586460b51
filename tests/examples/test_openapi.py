"""The OpenAPI description of the FastAPI example."""

from pathlib import Path

import httpx

from benchmarks.backends import free_port, serving


def test_every_answer_is_documented_with_an_example(valkey_url: str, tmp_path: Path) -> None:
    port = free_port()
    with serving("fastapi_backend", valkey_url, tmp_path / "log", port=port):
        document = httpx.get(f"http://127.0.0.1:{port}/openapi.json", trust_env=False).json()
    routes = {
        f"{method} {path}": route
        for path, methods in document["paths"].items()
        for method, route in methods.items()
    }
    assert {name: sorted(route["responses"]) for name, route in routes.items()} == {
        "post /validations": ["202", "413", "422", "429", "503"],
        "get /validations/{job_id}": ["200", "404", "422", "503"],
        "get /validations/{job_id}/events": ["200", "404", "422", "503"],
        "delete /validations/{job_id}": ["202", "404", "422", "503"],
    }
    for route in routes.values():
        for status, answer in route["responses"].items():
            if status >= "400":
                assert answer["content"]["application/json"]["example"].keys() == {"detail"}
                assert ("headers" in answer) == (status in ("429", "503"))
    stream = routes["get /validations/{job_id}/events"]["responses"]["200"]["content"]
    assert list(stream) == ["text/event-stream"]
    (key,) = routes["post /validations"]["parameters"]
    assert (key["name"], key["in"], key["required"]) == ("idempotency-key", "header", False)
