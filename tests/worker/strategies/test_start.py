"""The command that starts a project's server."""

from typing import Any

import pytest

from revalid.jobs.checks import CheckName
from revalid.jobs.steps import Exec
from revalid.worker.strategies.plan import PlannedStep
from revalid.worker.strategies.start import health_paths
from tests.worker.strategies.conftest import Make, PlanOf

EXPRESS = {"express": "5"}


def starts_of(plan_of: PlanOf, files: dict[str, Any], **fields: Any) -> dict[str, PlannedStep]:
    """Return the start steps by name."""
    return {
        str(s.step.name): s
        for s in plan_of(files, **fields).steps
        if s.check is CheckName.START and isinstance(s.step, Exec)
    }


def start_of(plan_of: PlanOf, files: dict[str, Any], **fields: Any) -> str | None:
    """Return what the start step runs after its variables, setup first; None without one."""
    steps = starts_of(plan_of, files, **fields)
    if not steps:
        return None
    (planned,) = steps.values()
    assert planned.probe is not None
    assert isinstance(planned.step, Exec)
    lines = [*planned.probe.setup.splitlines(), *planned.step.command.splitlines()]
    return "\n".join(n for n in lines if not n.startswith("export "))


def manifest(directory: str = "", **fields: Any) -> dict[str, Any]:
    return {f"{directory}package.json": fields}


@pytest.mark.parametrize(
    ("files", "command"),
    [
        (manifest(scripts={"start": "node ."}), "exec npm run start"),
        (
            manifest(scripts={"build": "vite build", "preview": "vite preview"}),
            "exec npm run preview",
        ),
        (manifest(scripts={"start": "expo start"}), None),
        (manifest(scripts={"start": "node . && echo done"}), None),
        (manifest(scripts={"start": "tsc && node ."}), "exec npm run start"),
        (manifest(scripts={"build": "tsc"}), None),
        (manifest(dependencies=EXPRESS) | {"src/index.js": ""}, "exec node src/index.js"),
        (
            manifest(dependencies=EXPRESS, scripts={"dev": "tsx src/main.ts"}),
            "exec npm run dev",
        ),
        (manifest(dependencies=EXPRESS, scripts={"dev": "tsx watch src/main.ts"}), None),
        (
            manifest(workspaces=["server"])
            | manifest("server/", dependencies={"@trpc/server": "11", "@types/bun": "1"})
            | {"server/src/index.ts": "", "bun.lock": ""},
            "cd server && exec bun src/index.ts",
        ),
        (
            manifest(
                workspaces=["client", "server"],
                scripts={"start": "concurrently 'npm:start:*'"},
            )
            | manifest("client/", scripts={"preview": "vite preview"})
            | manifest("server/", scripts={"start": "node ."}),
            "exec npm run start",
        ),
        (
            manifest(
                workspaces=["server"],
                scripts={"start": "npm run serve", "serve": "npm start -w server"},
            )
            | manifest("server/", scripts={"start": "node ."}),
            "exec npm run start",
        ),
        (
            manifest(workspaces=["client", "server"])
            | manifest("client/", scripts={"build": "vite build"}, dependencies={"vite": "7"})
            | manifest("server/", dependencies={"@trpc/server": "11"})
            | {"server/src/index.js": "", "client/index.html": ""},
            "( cd client && exec npx --no-install vite preview --host 127.0.0.1 --strictPort "
            "--port $PAGE_PORT ) &\ncd server && exec node src/index.js",
        ),
        (
            manifest(scripts={"start": "node ."}) | {"Procfile": "release: x\nweb: node web.js\n"},
            "node web.js",
        ),
        (manifest(scripts={"test": "x"}) | {"Dockerfile": 'CMD ["node", "a.js"]'}, "node a.js"),
        (
            manifest(
                scripts={"start": "node .", "db:push": "drizzle-kit push"},
                dependencies={"drizzle-kit": "1"},
            ),
            "( npm run db:push -- --force ) || exit\nexec npm run start",
        ),
        (
            manifest(scripts={"start": "node ."}, dependencies={"prisma": "6"})
            | {"prisma/schema.prisma": "", "prisma/migrations/1/migration.sql": ""},
            "( npx --no-install prisma migrate deploy ) || exit\nexec npm run start",
        ),
    ],
)
def test_a_node_project(plan_of: PlanOf, files: dict[str, Any], command: str | None) -> None:
    assert start_of(plan_of, files) == command


@pytest.mark.parametrize(
    ("files", "command"),
    [
        (
            {"main.py": "from fastapi import FastAPI\napi = FastAPI()\n"},
            "exec python -m uvicorn --app-dir . main:api --host 0.0.0.0 --port $PORT",
        ),
        (
            {"src/shop/app.py": "app = Flask(__name__)\n"},
            "exec env PYTHONPATH=src python -m flask --app shop.app:app run --host 0.0.0.0"
            " --port $PORT",
        ),
        (
            {"app.py": "import streamlit as st\n"},
            "exec python -m streamlit run app.py --server.port $PORT --server.address 0.0.0.0"
            " --server.headless true",
        ),
        ({"main.py": "from nicegui import ui\nui.run()\n"}, "exec python main.py"),
        (
            {"manage.py": "import django", "site/settings.py": ""},
            "( . .venv/bin/activate && python manage.py migrate --noinput ) || exit\n"
            ". .venv/bin/activate\n"
            "exec python manage.py runserver --noreload 0.0.0.0:$PORT",
        ),
        (
            {"app.py": "", "app.yaml": 'command: ["streamlit", "run", "app.py"]\n'},
            "exec streamlit run app.py",
        ),
        (
            {"app.yaml": "command:\n  - gunicorn\n  - app:server\n  - -w\n  - 2\nenv:\n"},
            "exec gunicorn app:server -w 2",
        ),
        ({"tool.py": "print(1)\n", "tests/app.py": "app = Flask(__name__)"}, None),
    ],
)
def test_a_python_project(plan_of: PlanOf, files: dict[str, Any], command: str | None) -> None:
    found = start_of(plan_of, {"requirements.txt": "x", **files})
    activate = ". .venv/bin/activate\n"
    expected = command if command is None or command.startswith("( ") else activate + command
    assert found == expected


FULL_STACK = (
    manifest(
        workspaces=["client", "server"],
        scripts={"db:push": "npm run db:push -w server"},
        dependencies={"pg": "8"},
    )
    | manifest("client/", scripts={"build": "vite build", "preview": "vite preview"})
    | manifest("server/", scripts={"build": "tsc", "dev": "tsx src/index.ts", "db:push": "x"})
    | {
        "server/src/index.ts": "app.get('/healthz')",
        ".env.example": "DATABASE_URL=postgres://a@b/c\n",
    }
)


def test_each_part_is_started_with_what_it_needs(plan_of: PlanOf) -> None:
    found = starts_of(plan_of, FULL_STACK)
    told = {
        name: (
            planned.step.command.splitlines()[-1],
            planned.depends_on,
            [str(service.kind) for service in planned.services],
            planned.probe.paths,
            planned.probe.pages,
            planned.probe.setup.count("db:push"),
        )
        for name, planned in found.items()
        if isinstance(planned.step, Exec) and planned.probe is not None
    }
    assert told == {
        "start server": (
            *("cd server && exec npm run dev", ("install",), ["postgres"]),
            *(("/healthz", "/"), False, 1),
        ),
        "start client": (
            *("cd client && exec npm run preview", ("install", "build client"), []),
            *(("/",), True, 0),
        ),
    }
    assert all(planned.after == ("build client", "build server") for planned in found.values())


@pytest.mark.parametrize("root", [{}, {"start": "vite preview"}])
def test_a_server_that_nobody_can_start_is_named(plan_of: PlanOf, root: dict[str, str]) -> None:
    files = (
        manifest(workspaces=["client", "server"], scripts=root)
        | manifest("client/", scripts={"preview": "vite preview"})
        | manifest("server/", dependencies={"express": "5"})
        | {"server/src/index.ts": ""}
    )
    server = starts_of(plan_of, files)["start server"]
    assert server.skipped_reason == "no start script and no known entry in server"
    assert server.probe is None


def test_no_more_than_a_few_parts_are_started(plan_of: PlanOf) -> None:
    files = manifest(workspaces=["apps/*"])
    for number in range(6):
        files |= manifest(f"apps/a{number}/", scripts={"start": "node ."})
    reasons = [planned.skipped_reason for planned in starts_of(plan_of, files).values()]
    assert reasons == [None] * 4 + ["only 4 parts are started"] * 2


@pytest.mark.parametrize(
    ("script", "needs"),
    [
        ("node dist/index.js", True),
        ("node .", True),
        ("next start", True),
        ("tsx src/index.ts", False),
        ("NODE_ENV=production node --enable-source-maps ./src/index.ts", False),
    ],
)
def test_a_server_that_runs_its_source_needs_no_build(
    plan_of: PlanOf, script: str, needs: bool
) -> None:
    files = manifest(scripts={"build": "x", "start": script}) | {"src/index.ts": ""}
    (planned,) = starts_of(plan_of, files).values()
    assert ("build" in planned.depends_on, planned.after) == (needs, ("build",))


def test_its_variables_are_those_of_the_examples(plan_of: PlanOf) -> None:
    files = manifest(scripts={"start": "node ."}) | {
        ".env.example": "PORT=2022\nDATABASE_URL=postgres://a@b/c\nTITLE='My $HOME'\nEMPTY=\n",
        "docker-compose.yml": "services:\n  app:\n    environment:\n      LOG: ${LOG:-info}\n"
        "      - MODE=fast\n      NODE_OPTIONS: --x\n",
    }
    (step,) = [s.step for s in plan_of(files).steps if s.check is CheckName.START]
    assert isinstance(step, Exec)
    assert step.command.splitlines() == [
        "export PORT=${PORT:-2022}",
        "export LOG=${LOG:-info}",
        "export MODE=${MODE:-fast}",
        "export TITLE=${TITLE:-'My $HOME'}",
        "exec npm run start",
    ]


def test_it_decides_only_if_the_job_requires_it(plan_of: PlanOf) -> None:
    files = manifest(scripts={"start": "node ."})
    for require, decides in (((), False), (("start",), True)):
        (step,) = [
            s.step for s in plan_of(files, require=require).steps if s.check is CheckName.START
        ]
        assert isinstance(step, Exec)
        assert step.allow_failure is not decides


def test_health_paths_come_from_the_source_and_the_containers_checks(make: Make) -> None:
    files = {
        "Dockerfile": "HEALTHCHECK CMD curl -f http://localhost:8080/api/live || exit 1\n",
        "src/index.ts": 'app.get("/healthcheck", ok); app.get("/users", list)',
        "src/index.test.ts": 'get("/healthz")',
    }
    assert health_paths(make(files)) == ("/api/live", "/healthcheck", "/")
    assert health_paths(make({"src/index.ts": "", "Dockerfile": ""})) == ("/",)
