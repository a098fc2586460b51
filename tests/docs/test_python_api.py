"""The Python API page: it documents every public name, and its examples run."""

import re
from pathlib import Path

import pytest

import revalid

PAGE = (Path(__file__).parents[2] / "docs/python-api.md").read_text()
GROUPS = re.split(r"(?m)^## ", PAGE)[1:]
EXAMPLE = re.compile(r"```python\n(.*?)```", re.DOTALL)


def test_every_public_name_is_documented_once() -> None:
    documented = re.findall(r"(?m)^::: revalid\.(\w+)$", PAGE)
    assert sorted(documented) == revalid.__all__


def test_every_group_has_an_example() -> None:
    assert [group for group in GROUPS if not EXAMPLE.search(group)] == []


def test_the_examples_run(
    local_worker: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    project = tmp_path / "shop"
    project.mkdir()
    (project / "package.json").write_text('{"name": "shop"}')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REVALID_BROKER_URL", local_worker)
    names: dict[str, object] = {}
    for number, example in enumerate(EXAMPLE.findall(PAGE)):
        code = example.replace("redis://localhost:6379/0", local_worker)
        exec(compile(code, f"example {number}", "exec"), names)  # noqa: S102
    shown = capsys.readouterr().out
    assert shown.startswith('passed\n{"name": "shop"}\npassed\ncancelled\nTrue ')
    assert "3 no\n" in shown
    assert shown.endswith(f"\n{revalid.__version__}\n")
