"""Finds the command that starts a Python project's server."""

import re

from revalid.worker.strategies.plan import PlannedStep
from revalid.worker.strategies.project_tree import ProjectTree
from revalid.worker.strategies.start import declared_command, docker_command, start_check

_HEAD_BYTES = 1 << 16
_MAX_SOURCES = 200
_ACTIVATE = ". .venv/bin/activate"
_APP = re.compile(
    r"^(\w{1,60})(?:: ?\w{1,60})? ?= ?(FastAPI|Flask|Starlette|Litestar|Quart)\(", re.M
)
_FACTORY = re.compile(r"^def create_app\(", re.M)
_STREAMLIT = re.compile(r"^[ \t]{0,20}(?:import|from) streamlit\b", re.M)
_SCRIPT = re.compile(
    r"\b(?:ui\.run|uvicorn\.run|\w{1,40}\.run_server|\w{1,40}\.run|\w{1,40}\.launch)\("
)
_FRAMEWORK = re.compile(
    r"^[ \t]{0,20}(?:import|from) (?:dash|nicegui|gradio|flask|fastapi|aiohttp|sanic)\b", re.M
)
_NO_SOURCE = re.compile(
    r"(?:^|/)(?:\.|(?:tests?|docs|examples?|site-packages|migrations)/|test_|setup\.py)"
)
_NAMES = ("app", "main", "server", "streamlit_app", "wsgi", "asgi", "__init__")


def python_start(tree: ProjectTree) -> list[PlannedStep]:
    """Return the step that starts the project's server; none if it has no server."""
    command = declared_command(tree, python=True) or _command(tree)
    command = command or docker_command(tree, python=True)
    if command is None:
        return []
    command = command if re.search(r"[;&|]", command) else f"exec {command}"
    return [start_check(tree, f"{_ACTIVATE}\n{command}", ["install"], migrations=_migrations(tree))]


def _migrations(tree: ProjectTree) -> list[str]:
    if _is_django(tree):
        return [f"{_ACTIVATE} && python manage.py migrate --noinput"]
    return [f"{_ACTIVATE} && alembic upgrade head"] if "alembic.ini" in tree.files else []


def _is_django(tree: ProjectTree) -> bool:
    return "manage.py" in tree.files and "django" in tree.head("manage.py")


def _command(tree: ProjectTree) -> str | None:
    if _is_django(tree):
        return "python manage.py runserver --noreload 0.0.0.0:$PORT"
    sources = [p for p in tree.files if p.endswith(".py") and not _NO_SOURCE.search(p)]
    scripts: list[str] = []
    for path in sorted(sources, key=_rank)[:_MAX_SOURCES]:
        text = tree.head(path, _HEAD_BYTES)
        if _STREAMLIT.search(text) and "/" not in path:
            return (
                f"python -m streamlit run {path} --server.port $PORT --server.address 0.0.0.0"
                " --server.headless true"
            )
        module = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        module = module.removeprefix("src.")
        if match := _APP.search(text):
            return _served(f"{module}:{match[1]}", match[2], path)
        if _FACTORY.search(text) and "flask" in text.lower():
            return _served(f"{module}:create_app", "Flask", path)
        if _FRAMEWORK.search(text) and _SCRIPT.search(text):
            scripts.append(path)
    return f"python {scripts[0]}" if scripts else None


def _served(target: str, framework: str, path: str) -> str:
    below = "src" if path.startswith("src/") else "."
    if framework == "Flask":
        return (
            f"env PYTHONPATH={below} python -m flask --app {target} run --host 0.0.0.0 --port $PORT"
        )
    return f"python -m uvicorn --app-dir {below} {target} --host 0.0.0.0 --port $PORT"


def _rank(path: str) -> tuple[int, int, str]:
    name = path.rpartition("/")[2].removesuffix(".py")
    return path.count("/"), _NAMES.index(name) if name in _NAMES else len(_NAMES), path
