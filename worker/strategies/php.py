"""The ``php`` strategy: projects of Composer, Laravel among them."""

import re
import shlex
from typing import Any

from revalid.jobs.checks import CheckName
from revalid.jobs.job import StrategyName
from revalid.worker.strategies.node.scripts import does_nothing
from revalid.worker.strategies.node.test_files import hides_failures
from revalid.worker.strategies.plan import (
    UNKNOWN,
    Plan,
    PlannedStep,
    Runtime,
    TestRun,
    check,
    guard,
    install,
    skipped,
)
from revalid.worker.strategies.project_tree import ProjectTree
from revalid.worker.strategies.python.requirements import table
from revalid.worker.strategies.strategy import Language

_SET_UP = "export COMPOSER_PROCESS_TIMEOUT=0 COMPOSER_NO_AUDIT=1\n"
_COMPOSER = f"""{guard("php")}command -v composer >/dev/null || {{
  mkdir -p "$HOME/.local/bin" &&
  php -r 'exit(copy("https://getcomposer.org/composer-2.phar", $argv[1]) ? 0 : 127);' \\
    "$HOME/.local/bin/composer" && chmod +x "$HOME/.local/bin/composer"
}} || {{ echo "composer: not found" >&2; exit 127; }}
"""
"""The images of one version of PHP have no Composer."""
_LARAVEL = """
if [ ! -e .env ] && [ -f .env.example ]; then
  cp .env.example .env && php artisan key:generate --ansi
fi"""
_TYPE_SCRIPTS = (
    *("types", "typecheck", "test:types", "phpstan", "stan", "analyse", "analyze", "psalm"),
    "static-analysis",
)
_TEST_SCRIPTS = ("test", "tests", "phpunit", "pest", "test:unit")
_PHPSTAN = ("phpstan.neon", "phpstan.neon.dist", "phpstan.dist.neon")
_TEST_FILE = re.compile(r"(?:^|/)[Tt]ests?/(?:.{1,300})?[^/]{1,100}Test\.php\Z")
_VERSION = re.compile(r"\d\.\d")


def plan_part(tree: ProjectTree) -> Plan:
    """Plan the install, a syntax check, the type check and the tests of a project.

    Raises:
        InvalidProject: Its manifest does not parse.
    """
    manifest = tree.json("composer.json") or {}
    scripts = table(manifest, "scripts")
    wanted = {**table(manifest, "require"), **table(manifest, "require-dev")}
    locked = "composer.lock" in tree.files
    command = f"{_SET_UP}{_COMPOSER}composer install --no-interaction --no-progress"
    laravel = "artisan" in tree.files
    steps = (
        install(command + (f" || exit{_LARAVEL}" if laravel else ""), cacheable=locked),
        _syntax(tree, manifest),
        _types(tree, scripts, wanted),
        _tests(tree, scripts, wanted, laravel=laravel),
    )
    return Plan(
        StrategyName.PHP,
        "composer.json" + (" of Laravel" if laravel else ""),
        steps,
        ("php", "composer"),
        () if locked else ("no composer.lock: versions may differ between runs",),
        runtime=_runtime(tree, manifest),
    )


def _syntax(tree: ProjectTree, manifest: dict[str, Any]) -> PlannedStep:
    """Plan ``php -l`` over what can be loaded: fixtures of tests may be broken on purpose."""
    places: dict[str, None] = {}
    for kind in ("psr-4", "psr-0"):
        for value in table(manifest, "autoload", kind).values():
            for path in value if isinstance(value, list) else [value]:
                if isinstance(path, str) and (clean := path.strip("./")):
                    places[clean] = None
    heads = {path.partition("/")[0] for path in tree.files}
    existing = [p for p in places or ("src", "app", "lib") if p.partition("/")[0] in heads]
    existing += sorted(path for path in tree.files if "/" not in path and path.endswith(".php"))
    if not existing:
        return skipped(CheckName.BUILD, "syntax", "php -l", "no PHP source", absent=True)
    listed = " ".join(shlex.quote(f"./{place}") for place in existing)
    command = (
        f"{guard('php')}find {listed} -name '*.php' -print0 | xargs -0 -n 1 -P 2 php -l >/dev/null"
    )
    return check(CheckName.BUILD, "syntax", command)


def _types(tree: ProjectTree, scripts: dict[str, Any], wanted: dict[str, Any]) -> PlannedStep:
    command = ""
    if script := next((name for name in _TYPE_SCRIPTS if _does(scripts.get(name))), None):
        command = f"{_SET_UP}composer run-script {shlex.quote(script)}"
    elif not tree.files.isdisjoint(_PHPSTAN) and any(
        n.endswith("phpstan") or "larastan" in n for n in wanted
    ):
        command = "vendor/bin/phpstan analyse --no-progress --memory-limit=2G"
    elif not tree.files.isdisjoint(("psalm.xml", "psalm.xml.dist")) and "vimeo/psalm" in wanted:
        command = "vendor/bin/psalm --no-progress"
    if command:
        return check(CheckName.TYPECHECK, "typecheck", command, ("install",))
    reason = "no PHPStan and no Psalm is configured"
    return skipped(CheckName.TYPECHECK, "typecheck", "phpstan analyse", reason, absent=True)


def _tests(
    tree: ProjectTree, scripts: dict[str, Any], wanted: dict[str, Any], *, laravel: bool
) -> PlannedStep:
    script = next((name for name in _TEST_SCRIPTS if _does(scripts.get(name))), None)
    has_tests = any(_TEST_FILE.search(path) for path in tree.files)
    known = UNKNOWN
    if script:
        command = f"{_SET_UP}composer run-script {script}"
        known = TestRun(hides_failures=any(map(hides_failures, _lines(scripts[script]))))
    elif not has_tests:
        return skipped(CheckName.TESTS, "test", "phpunit", "no *Test.php in tests/", absent=True)
    elif laravel:
        command = "php artisan test"
    elif "pestphp/pest" in wanted:
        command = "vendor/bin/pest"
    elif "phpunit/phpunit" in wanted or "symfony/phpunit-bridge" in wanted:
        tool = "phpunit" if "phpunit/phpunit" in wanted else "simple-phpunit"
        command = f"vendor/bin/{tool}"
    else:
        reason = "composer.json names no test runner"
        return skipped(CheckName.TESTS, "test", "phpunit", reason, absent=False)
    return check(CheckName.TESTS, "test", command, ("install",), test_run=known)


def _does(script: object) -> bool:
    """Return whether a Composer script runs something."""
    return not all(map(does_nothing, _lines(script)))


def _lines(script: object) -> list[str]:
    """Return the commands of a Composer script, of which the first that fails ends it."""
    lines = script if isinstance(script, list) else [script]
    return [line for line in lines if isinstance(line, str)]


def _runtime(tree: ProjectTree, manifest: dict[str, Any]) -> Runtime:
    if match := _VERSION.match(tree.head(".php-version", 100).strip()):
        return Runtime("php", f"={match[0]}", ".php-version")
    platform = table(manifest, "config", "platform").get("php")
    if isinstance(platform, str) and (match := _VERSION.match(platform)):
        return Runtime("php", f"={match[0]}", "config.platform in composer.json")
    wanted = table(manifest, "require").get("php")
    return Runtime("php", wanted[:100] if isinstance(wanted, str) else "", "composer.json")


PHP = Language(StrategyName.PHP, ("composer.json",), plan_part)
