"""The services that a project's tests need."""

import pytest

from revalid.jobs.job import StrategyName
from revalid.jobs.services import Service, ServiceKind
from tests.worker.strategies.conftest import Files, PlanOf, steps_by_name

TEST = {"a.test.js": 'import test from "node:test";\n'}
COMPOSE = "services:\n  db:\n    image: postgres:16-alpine\n"


def node(*dependencies: str) -> Files:
    """A Node project with a test and some dependencies."""
    return {"package.json": {"dependencies": dict.fromkeys(dependencies, "1")}, **TEST}


@pytest.mark.parametrize(
    ("files", "kinds"),
    [
        (node("pg"), ["postgres"]),
        (node("mysql2", "ioredis"), ["mysql", "redis"]),
        (node("mongoose"), ["mongodb"]),
        (node("pg-types", "react"), []),
        ({**node(), "prisma/schema.prisma": 'db {\n  provider = "postgresql"\n}'}, ["postgres"]),
        (
            {"requirements.txt": "psycopg2-binary>=2\nredis\n", "test_a.py": "def test_a(): 0"},
            ["postgres", "redis"],
        ),
        (
            {
                "pyproject.toml": '[project]\nname="a"\ndependencies=["asyncpg"]',
                "test_a.py": "def test_a(): 0",
            },
            ["postgres"],
        ),
    ],
)
def test_services_are_found_by_what_the_project_depends_on(
    plan_of: PlanOf, files: Files, kinds: list[str]
) -> None:
    services = steps_by_name(plan_of(files))["test"].services
    assert sorted(service.kind for service in services) == kinds


def test_the_image_is_that_of_the_projects_compose_file(plan_of: PlanOf) -> None:
    plan = plan_of({**node("pg"), "docker-compose.yml": COMPOSE})
    (service,) = steps_by_name(plan)["test"].services
    assert service.image == "postgres:16-alpine"
    assert service.reason == "package.json depends on pg"


def test_a_compose_file_alone_tells_of_services(plan_of: PlanOf) -> None:
    compose = """\
services:
  app:
    build: .
    environment:
      - DATABASE_URL=${DATABASE_URL:-postgresql+asyncpg://u:p@main_db:5432/x}
  main_db:
    environment:
      POSTGRES_DB: x
    image: "postgres:16-alpine"   # pinned
  cache:
    image: docker.io/library/redis:7
  mail:
    image: axllent/mailpit
"""
    services = steps_by_name(plan_of({**node(), "compose.yaml": compose}))["test"].services
    assert [(s.kind, s.image, s.hosts, s.names) for s in services] == [
        (
            "postgres",
            "postgres:16-alpine",
            ("main_db",),
            (("DATABASE_URL", "postgresql+asyncpg"),),
        ),
        ("redis", "docker.io/library/redis:7", ("cache",), ()),
    ]
    assert services[0].reason == "compose.yaml runs postgres:16-alpine"


def test_an_example_of_variables_alone_tells_of_services(plan_of: PlanOf) -> None:
    example = "REDIS_URL=rediss://localhost\n"
    (service,) = steps_by_name(plan_of({**node(), ".env.example": example}))["test"].services
    assert (service.kind, service.reason) == ("redis", ".env.example names REDIS_URL")
    assert service.names == (("REDIS_URL", "redis"),)


@pytest.mark.parametrize(
    "image",
    [
        "10.0.0.1/x/postgres:1",
        "mallory/postgres",
        "ghcr.io/x/postgresql:1",
        "bitnami/mongodb",
    ],
)
def test_a_project_chooses_among_well_known_images_alone(plan_of: PlanOf, image: str) -> None:
    compose = f"services:\n  db:\n    image: {image}\n"
    (service,) = steps_by_name(plan_of({**node(), "compose.yml": compose}))["test"].services
    assert service.image in ("postgres:17-alpine", "mongo:8")
    assert service.reason == f"compose.yml runs {image}; {service.image} stands in for {image}"


def test_variables_with_an_address_are_given_it(plan_of: PlanOf) -> None:
    example = "# x\nexport PRIMARY_DB = 'postgres://u:p@localhost/x'\nOTHER=1\n"
    plan = plan_of({**node("pg"), ".env.example": example})
    (service,) = steps_by_name(plan)["test"].services
    assert service.names == (("PRIMARY_DB", "postgres"),)


def test_only_tests_have_services(plan_of: PlanOf) -> None:
    plan = plan_of(
        {
            **node("pg"),
            "package.json": {"scripts": {"build": "x", "test": "y"}, "dependencies": {"pg": "1"}},
        }
    )
    having = [name for name, step in steps_by_name(plan).items() if step.services]
    assert having == ["test"]


def test_given_services_replace_those_that_are_found(plan_of: PlanOf) -> None:
    files = node("pg")
    assert steps_by_name(plan_of(files, services=()))["test"].services == ()
    given = (Service(kind=ServiceKind.REDIS, image="redis:8"),)
    (service,) = steps_by_name(plan_of(files, services=given))["test"].services
    assert (service.kind, service.image, service.reason) == ("redis", "redis:8", "given")


def test_given_services_serve_given_commands(plan_of: PlanOf) -> None:
    steps = ({"op": "exec", "command": "npm test"},)
    given = (Service(kind=ServiceKind.POSTGRES),)
    plan = plan_of(node(), StrategyName.COMMAND, steps=steps, services=given)
    assert [service.kind for service in plan.steps[0].services] == ["postgres"]
    plan = plan_of(node("pg"), StrategyName.COMMAND, steps=steps)
    assert plan.steps[0].services == ()


OTHERS_COMPOSED = """
services:
  app:
    build: .
    image: shop/app
  db:
    image: postgres:17
  queue:
    image: rabbitmq:3
"""


def test_a_composed_service_of_no_known_kind_is_named(plan_of: PlanOf) -> None:
    files = {"package.json": {"scripts": {"test": "y"}}, "compose.yaml": OTHERS_COMPOSED}
    (missing,) = plan_of(files).left_out
    assert missing.reason.startswith("compose.yaml runs rabbitmq:3 as queue, of no known kind: ")
    assert not missing.decides
    given = Service(kind=ServiceKind.OTHER, name="queue", image="rabbitmq:3", port=5672)
    assert plan_of(files, services=(given,)).left_out == ()


@pytest.mark.parametrize(
    ("image", "declared"), [(None, False), ("postgres:16", False), ("mine/postgres:1", True)]
)
def test_an_image_of_the_callers_own_is_the_jobs_fault(
    plan_of: PlanOf, image: str | None, declared: bool
) -> None:
    given = (Service(kind=ServiceKind.POSTGRES, image=image),)
    (service,) = steps_by_name(plan_of(node("pg"), services=given))["test"].services
    assert service.declared is declared
