"""Plans the check that starts a project's server: its command, variables and health paths."""

import json
import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import replace

from revalid.jobs.checks import CheckName
from revalid.jobs.steps import Exec
from revalid.worker import serving
from revalid.worker.serving import Probe
from revalid.worker.strategies.plan import PlannedStep, check
from revalid.worker.strategies.project_tree import ProjectTree
from revalid.worker.strategies.services import COMPOSE_FILES, ENV_EXAMPLES

PORT = 3000
PAGE_PORT = 4173
_HEAD_BYTES = 1 << 16
_MAX_SOURCES = 400
_MAX_HEALTH_PATHS = 3
_MAX_VARIABLES = 60
_SOURCE = re.compile(r"\.(?:[cm]?[jt]sx?|py)\Z")
_NO_SOURCE = re.compile(r"(?:^|/)(?:\.|(?:node_modules|dist|build|tests?|__tests__)/)|\.test\.")
_HEALTH = re.compile(
    r"[\"'`](/(?:api/|v1/|api/v1/)?(?:health(?:z|check|-check|_check)?|livez|readyz|_health))"
    r"/?[\"'`]"
)
_CHECKED_URL = re.compile(
    r"https?://(?:localhost|127\.0\.0\.1|0\.0\.0\.0)(?::[^/\s\"']{1,20})?(/[\w./-]{0,80})"
)
_EXAMPLE = re.compile(r"^(?:export )?([A-Z][A-Z0-9_]{0,60})=([^\n#]{1,500})", re.MULTILINE)
_COMPOSED = re.compile(
    r"^[ \t]{2,40}(?:- )?[\"']?([A-Z][A-Z0-9_]{0,60})(?:=|:[ \t]{1,8})([^\n#]{1,500})", re.MULTILINE
)
_DEFAULT = re.compile(r"\$\{\w{1,60}:?-([^}]{0,200})\}\Z")
_SERVICE_URL = re.compile(r"[a-z0-9+]{1,40}://[^/]*@|(?:postgres|mysql|mariadb|redis|mongodb)")
_NOT_GIVEN = frozenset({"PORT", "PAGE_PORT", "PATH", "HOME", "CI", "NODE_OPTIONS", "PYTHONPATH"})
_PYTHON = frozenset(
    (
        *("python", "python3", "gunicorn", "uvicorn", "hypercorn", "daphne"),
        *("streamlit", "flask", "fastapi", "chainlit"),
    )
)
_PROCFILE = re.compile(r"^web:[ \t]{0,8}([^\n]{1,1000})", re.MULTILINE)
_APP_YAML = re.compile(r"^(?:command|entrypoint):[ \t]{0,8}([^\n]{0,1000})", re.MULTILINE)
_ITEM = re.compile(r"\s{0,20}-[ \t]{1,8}([^\n]{1,500})\n?")
_CMD = re.compile(r"^CMD[ \t]{1,8}([^\n]{1,1000})", re.MULTILINE)
_PORTS = (
    *("DATABRICKS_APP_PORT", "STREAMLIT_SERVER_PORT", "GRADIO_SERVER_PORT", "UVICORN_PORT"),
    "FLASK_RUN_PORT",
)


def start_check(
    tree: ProjectTree,
    command: str,
    depends_on: Sequence[str],
    *,
    name: str = "start",
    after: Iterable[str] = (),
    migrations: Iterable[str] = (),
    pages: bool = False,
    client: str | None = None,
    render: bool = True,
) -> PlannedStep:
    """Return the step that starts a server, after its migrations.

    Its outcome does not decide unless the job requires it.

    Args:
        tree: The whole project.
        command: The command that becomes the server.
        after: Steps whose files it uses if they are there.
        pages: Whether it serves pages alone.
        client: The command that serves the pages on the port ``PAGE_PORT``, beside a server that
            has none.
        render: Whether a browser opens its pages.
    """
    values = _variables(tree)
    lines = [f"export PORT=${{PORT:-{values.pop('PORT', str(PORT))}}}"]
    lines += [f"export {port}=$PORT" for port in _PORTS if port in command or _is_python(command)]
    lines += [f"export {n}=${{{n}:-{shlex.quote(v)}}}" for n, v in values.items()]
    if client is not None:
        lines.append(f"export PAGE_PORT=${{PAGE_PORT:-{PAGE_PORT}}}")
    commands = [f"( {migration} ) || exit" for migration in migrations]
    probe = Probe(
        paths=("/",) if pages else health_paths(tree),
        ready_s=serving.READY_S,
        pages=pages,
        page_port=PAGE_PORT if client else 0,
        render=render,
        setup="\n".join([*lines, *commands]) if commands else "",
    )
    step = check(
        CheckName.START,
        name,
        "\n".join([*lines, *([f"( {client} ) &"] if client else []), command]),
        tuple(dict.fromkeys(depends_on)),
        allow_failure=True,
    )
    return replace(step, probe=probe, after=tuple(after))


def not_started(name: str, reason: str) -> PlannedStep:
    """Return the step of a server that nobody knows how to start."""
    step = Exec(name=name, command="start", allow_failure=True)
    return PlannedStep(step, check=CheckName.START, skipped_reason=reason)


def declared_command(tree: ProjectTree, *, python: bool) -> str | None:
    """Return the command that ``app.yaml`` or a ``Procfile`` declares; None without one.

    Args:
        python: Whether a command of Python is wanted, or one of Node.
    """
    for name in ("app.yaml", "app.yml"):
        text = tree.head(name, _HEAD_BYTES)
        if match := _APP_YAML.search(text):
            command = _yaml_command(match[1].strip(), text[match.end() :].removeprefix("\n"))
            if command and _is_python(command) is python:
                return command
    match = _PROCFILE.search(tree.head("Procfile", _HEAD_BYTES))
    return match[1].strip() if match and _is_python(match[1]) is python else None


def docker_command(tree: ProjectTree, *, python: bool) -> str | None:
    """Return the ``CMD`` of the project's ``Dockerfile``; None without one."""
    commands = _CMD.findall(tree.head("Dockerfile", _HEAD_BYTES))
    if not commands:
        return None
    command = _yaml_command(commands[-1].strip(), "")
    return command if command and _is_python(command) is python else None


def health_paths(tree: ProjectTree) -> tuple[str, ...]:
    """Return the paths that tell whether a server is well: those the project names, then ``/``."""
    found: dict[str, None] = {}
    for name in (*COMPOSE_FILES, "Dockerfile"):
        text = tree.head(name, _HEAD_BYTES)
        lines = (n for n in text.splitlines() if "test:" in n or "HEALTHCHECK" in n or "curl" in n)
        found |= dict.fromkeys(path for line in lines for path in _CHECKED_URL.findall(line))
    sources = (p for p in sorted(tree.files) if _SOURCE.search(p) and not _NO_SOURCE.search(p))
    for path in list(sources)[:_MAX_SOURCES]:
        found |= dict.fromkeys(_HEALTH.findall(tree.head(path, _HEAD_BYTES)))
    found.pop("/", None)
    return (*list(found)[:_MAX_HEALTH_PATHS], "/")


def _variables(tree: ProjectTree) -> dict[str, str]:
    """Return the variables that the compose file and the example of a ``.env`` name."""
    found: dict[str, str] = {}
    for name in ENV_EXAMPLES:
        for path in (name, f"server/{name}", f"backend/{name}"):
            found = dict(_EXAMPLE.findall(tree.head(path, _HEAD_BYTES))) | found
    for name in COMPOSE_FILES:
        found = dict(_COMPOSED.findall(tree.head(name, _HEAD_BYTES))) | found
    values = {name: _plain(value) for name, value in found.items()}
    port = values.get("PORT", "")
    usable = {
        name: value
        for name, value in values.items()
        if value and name not in _NOT_GIVEN and not _SERVICE_URL.match(value)
    }
    given = dict(sorted(usable.items())[:_MAX_VARIABLES])
    return given | ({"PORT": port} if port.isdigit() and 0 < int(port) < 65_536 else {})


def _plain(value: str) -> str:
    """Return a value without its quotes; empty if it refers to another."""
    value = value.strip()
    if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
        value = value[1:-1]
    if match := _DEFAULT.match(value):
        return match[1]
    return "" if "${" in value or "\0" in value else value


def _yaml_command(value: str, rest: str) -> str:
    """Return a command that is a string, a list in brackets, or a list of lines."""
    if not value:
        words = []
        while match := _ITEM.match(rest):
            words.append(_plain(match[1]))
            rest = rest[match.end() :]
        return _joined(words)
    if value.startswith("["):
        try:
            words = json.loads((value + rest)[: (value + rest).index("]") + 1].replace("'", '"'))
        except ValueError:
            return ""
        return _joined([word for word in words if isinstance(word, str)])
    return _plain(value)


def _joined(words: list[str]) -> str:
    if words[:1] and words[0].endswith("sh") and words[1:2] == ["-c"]:
        return " ".join(words[2:])
    return " ".join(word if "$" in word else shlex.quote(word) for word in words)


def _is_python(command: str) -> bool:
    words = re.split(r"[\s;&|]+", command)
    return any(word.rpartition("/")[2] in _PYTHON for word in words)
