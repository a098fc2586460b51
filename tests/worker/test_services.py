"""The variables by which a command finds its services."""

from revalid.jobs.services import ServiceKind
from revalid.worker.services import FACTS, NeededService, service_variables

POSTGRES = NeededService(ServiceKind.POSTGRES, "postgres:17", ("TEST_DATABASE_URL",), password="p")
MYSQL = NeededService(ServiceKind.MYSQL, "mysql:8.4", password="q")


def test_every_kind_has_facts() -> None:
    assert {*FACTS} == {*ServiceKind}


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


def test_a_server_gets_the_password_and_shows_it_to_nobody() -> None:
    assert POSTGRES.environment()["POSTGRES_PASSWORD"] == "p"
    redis = NeededService(ServiceKind.REDIS, "valkey")
    assert redis.arguments() == ["--requirepass", redis.password]
    assert redis.password not in repr(redis)
    assert redis.password != NeededService(ServiceKind.REDIS, "valkey").password
