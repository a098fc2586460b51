"""The variables by which a command finds its services."""

from revalid.jobs.services import KNOWN_KINDS, Service, ServiceKind
from revalid.worker.services import FACTS, NeededService, service_variables

POSTGRES = NeededService(
    ServiceKind.POSTGRES, "postgres:17", (("TEST_DATABASE_URL", "postgresql"),), password="p"
)
MYSQL = NeededService(ServiceKind.MYSQL, "mysql:8.4", password="q")


def test_every_kind_has_facts() -> None:
    assert {*FACTS} == {*KNOWN_KINDS}


def test_an_address_stands_in_the_variables_that_projects_read() -> None:
    variables = service_variables({POSTGRES: ("db", 5432)}, {})
    url = "postgresql://app:p@db:5432/app"
    assert variables["DATABASE_URL"] == variables["TEST_DATABASE_URL"] == url
    assert (variables["PGHOST"], variables["PGPORT"]) == ("db", "5432")


def test_the_first_service_wins_a_name_and_the_jobs_own_variables_stay() -> None:
    services = {POSTGRES: ("db", 5432), MYSQL: ("my", 3306)}
    variables = service_variables(services, {"PGHOST": "mine"})
    assert variables["DATABASE_URL"].startswith("postgresql://")
    assert variables["MYSQL_URL"] == "mysql://app:q@my:3306/app"
    assert "PGHOST" not in variables


def test_a_variable_that_the_project_names_keeps_its_scheme_and_wins() -> None:
    names = (("DATABASE_URL", "mysql+pymysql"),)
    named = NeededService(ServiceKind.MYSQL, "mysql:8.4", names, password="q")
    variables = service_variables({POSTGRES: ("db", 5432), named: ("my", 3306)}, {})
    assert variables["DATABASE_URL"] == "mysql+pymysql://app:q@my:3306/app"
    assert variables["POSTGRES_URL"] == "postgresql://app:p@db:5432/app"


def test_a_database_stands_in_the_parts_that_projects_read() -> None:
    variables = service_variables({MYSQL: ("my", 3306)}, {})
    read = ("DB_HOST", "DB_PORT", "DB_USER", "DB_PASSWORD", "DB_NAME")
    assert [variables[name] for name in read] == ["my", "3306", "app", "q", "app"]


def test_a_server_gets_the_password_and_shows_it_to_nobody() -> None:
    assert POSTGRES.environment()["POSTGRES_PASSWORD"] == "p"
    redis = NeededService(ServiceKind.REDIS, "valkey")
    assert redis.arguments() == ["--requirepass", redis.password]
    assert redis.password not in repr(redis)
    assert redis.password != NeededService(ServiceKind.REDIS, "valkey").password


def test_a_service_of_another_kind_is_found_by_its_name() -> None:
    given = Service(
        kind=ServiceKind.OTHER, name="full-text", image="search:1", port=7700, env={"KEY": "{a}"}
    )
    search = NeededService(ServiceKind.OTHER, "search:1", other=given)
    assert search.environment() == {"KEY": "{a}"}
    variables = service_variables({POSTGRES: ("db", 5432), search: ("full-text", 7700)}, {})
    assert (variables["FULL_TEXT_HOST"], variables["FULL_TEXT_PORT"]) == ("full-text", "7700")
    assert variables["DATABASE_URL"].startswith("postgresql://")
