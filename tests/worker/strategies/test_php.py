"""Projects of Composer are installed, parsed, checked and tested, those of Laravel too."""

from typing import Any

import pytest

from tests.worker.strategies.conftest import Files, PlanOf, commands, skips, steps_by_name

TEST = {"tests/Unit/ATest.php": "", "src/A.php": ""}


def composer(**fields: Any) -> dict[str, Any]:
    return {"composer.json": fields}


def test_a_project_is_installed_parsed_and_tested(plan_of: PlanOf) -> None:
    manifest = composer(
        autoload={"psr-4": {"A\\": "src/"}}, **{"require-dev": {"phpunit/phpunit": "^11"}}
    )
    plan = plan_of({**manifest, "composer.lock": "{}", **TEST})
    assert list(commands(plan)) == ["install", "syntax", "test"]
    assert "find ./src -name '*.php'" in commands(plan)["syntax"]
    assert commands(plan)["test"] == "vendor/bin/phpunit"
    assert steps_by_name(plan)["install"].cacheable
    assert plan.image == "composer:2.8"


@pytest.mark.parametrize(
    ("files", "command"),
    [
        (composer(scripts={"test": "phpunit"}), "composer run-script test"),
        (composer(scripts={"test": ["@lint", "@phpunit"]}), "composer run-script test"),
        (composer(**{"require-dev": {"pestphp/pest": "^3"}}), "vendor/bin/pest"),
        (
            {**composer(**{"require-dev": {"phpunit/phpunit": "^11"}}), "artisan": ""},
            "php artisan test",
        ),
    ],
)
def test_the_own_script_goes_before_the_runner(plan_of: PlanOf, files: Files, command: str) -> None:
    assert commands(plan_of({**files, **TEST}))["test"].endswith(command)


def test_a_script_that_prints_and_tests_is_one(plan_of: PlanOf) -> None:
    plan = plan_of(composer(scripts={"test": "echo start && php run-tests.php"}))
    assert commands(plan)["test"].endswith("composer run-script test")


@pytest.mark.parametrize("script", ["printf none", "sleep 1", ["cd tests", "pwd"], "", []])
def test_a_script_that_does_nothing_proves_nothing(plan_of: PlanOf, script: object) -> None:
    plan = plan_of({**composer(scripts={"test": script}), **TEST})
    assert skips(plan)["test"] == "composer.json names no test runner"


@pytest.mark.parametrize(
    ("script", "hides"),
    [("phpunit || true", True), (["@lint", "pest; true"], True), (["@lint", "pest"], False)],
)
def test_a_script_that_hides_failed_tests_is_known(
    plan_of: PlanOf, script: object, *, hides: bool
) -> None:
    plan = plan_of(composer(scripts={"test": script}))
    assert steps_by_name(plan)["test"].test_run.hides_failures is hides


def test_tests_without_a_runner_are_unproven(plan_of: PlanOf) -> None:
    plan = plan_of({**composer(scripts={"test": "echo no tests"}), **TEST})
    assert skips(plan)["test"] == "composer.json names no test runner"
    assert not steps_by_name(plan)["test"].absent


def test_laravel_gets_its_key(plan_of: PlanOf) -> None:
    plan = plan_of({**composer(), "artisan": "", ".env.example": "APP_KEY=\n"})
    assert "cp .env.example .env && php artisan key:generate" in commands(plan)["install"]
    assert plan.reason == "composer.json of Laravel"


@pytest.mark.parametrize(
    ("files", "command"),
    [
        ({**composer(scripts={"phpstan": "phpstan analyse"})}, "composer run-script phpstan"),
        (
            {**composer(**{"require-dev": {"larastan/larastan": "^3"}}), "phpstan.neon": ""},
            "vendor/bin/phpstan analyse --no-progress --memory-limit=2G",
        ),
        (
            {**composer(**{"require-dev": {"vimeo/psalm": "^6"}}), "psalm.xml": ""},
            "vendor/bin/psalm --no-progress",
        ),
    ],
)
def test_types_are_checked_where_that_is_configured(
    plan_of: PlanOf, files: Files, command: str
) -> None:
    assert commands(plan_of({**files, **TEST}))["typecheck"].endswith(command)


@pytest.mark.parametrize(
    ("php", "image"),
    [
        ("^8.2", "composer:2.8"),
        ("~8.2.0", "php:8.2-cli-alpine"),
        ("^7.4", "php:7.4-cli-alpine"),
        ("^7.4 || ^8.0", "composer:2.8"),
        (">=8.1 <8.3", "php:8.2-cli-alpine"),
        ("8.3.*", "php:8.3-cli-alpine"),
        ("strange", "composer:2.8"),
    ],
)
def test_the_constraint_chooses_the_image(plan_of: PlanOf, php: str, image: str) -> None:
    assert plan_of({**composer(require={"php": php}), **TEST}).image == image
