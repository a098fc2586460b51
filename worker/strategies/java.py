"""The ``java`` strategy: projects of Maven and Gradle, whatever language of Java's they use."""

import re

from revalid.jobs.checks import CheckName
from revalid.jobs.job import StrategyName
from revalid.worker.strategies.plan import Plan, PlannedStep, Runtime, check, skipped
from revalid.worker.strategies.project_tree import ProjectTree
from revalid.worker.strategies.strategy import Language

_MAVEN_TOOL = (
    'mvn() { if command -v mvn >/dev/null; then command mvn "$@"; else sh ./mvnw "$@"; fi; }\n'
)
_MAVEN = '-B -ntp -Dmaven.repo.local="$HOME/.m2/repository"'
_GRADLE_BUILDS = ("build.gradle", "build.gradle.kts")
_SETTINGS = ("settings.gradle", "settings.gradle.kts")
_COUNT = """init=${TMPDIR:-/tmp}/revalid-$$.gradle
cat >"$init" <<'END'
allprojects {
  tasks.withType(Test).configureEach {
    afterSuite { suite, result ->
      if (suite.parent == null) println("gradle: ${result.successfulTestCount} passed, " +
        "${result.failedTestCount} failed, ${result.skippedTestCount} skipped")
    }
  }
}
END
"""
"""Gradle prints no number of tests when all pass."""
_TEST = re.compile(r"(?:^|/)src/[a-zA-Z]{0,20}[tT]est/.{1,300}\.(?:java|kt|groovy|scala)\Z")
_JAVA = re.compile(
    r"<(?:maven\.compiler\.(?:release|source|target)|java\.version|jdk\.version|release)>\s{0,9}"
    r"(?:1\.)?(\d{1,2})\s{0,9}<"
)
_GRADLE_JAVA = re.compile(
    r"(?:JavaLanguageVersion\.of\(|jvmToolchain\(|JavaVersion\.VERSION_(?:1_)?|JVM_|"
    r"(?:source|target)Compatibility ?= ?[\"']?(?:1\.)?)(\d{1,2})"
)
_WRAPPER = re.compile(r"gradle-(\d{1,2})\.(\d{1,2})")
_GRADLE_CAN = ((8, 5, 21), (7, 3, 17), (5, 0, 11), (0, 0, 8))
"""The newest Java on which a Gradle from some version on runs."""
_LONG_SUPPORT = (8, 11, 17, 21, 25)
_HEAD = 1 << 16


def plan_part(tree: ProjectTree) -> Plan:
    """Plan the build and the tests of Maven, or of Gradle where there is no ``pom.xml``."""
    return _maven(tree) if "pom.xml" in tree.files else _gradle(tree)


def _maven(tree: ProjectTree) -> Plan:
    wrapper = _MAVEN_TOOL if "mvnw" in tree.files else ""
    steps = (
        _build(f"{wrapper}mvn {_MAVEN} -DskipTests package"),
        _tests(tree, f"{wrapper}mvn {_MAVEN} package"),
    )
    wanted = max(map(int, _JAVA.findall(tree.head("pom.xml", _HEAD))), default=None)
    runtime = Runtime("java", _release(wanted), "pom.xml")
    return Plan(StrategyName.JAVA, "pom.xml", steps, ("java", "mvn"), runtime=runtime)


def _gradle(tree: ProjectTree) -> Plan:
    wrapper = tree.head("gradle/wrapper/gradle-wrapper.properties")
    tool = "sh ./gradlew" if "gradlew" in tree.files and wrapper else "gradle"
    tool = f'export GRADLE_USER_HOME="$HOME/.gradle"\n{tool} --no-daemon --console=plain'
    steps = (
        _build(f"{tool} assemble testClasses"),
        _tests(tree, f'{_COUNT}{tool} --init-script "$init" --continue test'),
    )
    manifest = next((n for n in (*_GRADLE_BUILDS, *_SETTINGS) if n in tree.files), "build.gradle")
    texts = (tree.head(path, _HEAD) for path in sorted(tree.files) if _is_build(path))
    found = [int(version) for text in texts for version in _GRADLE_JAVA.findall(text)]
    wanted = max(found, default=None)
    if wanted is None and (match := _WRAPPER.search(wrapper)):
        version = (int(match[1]), int(match[2]))
        wanted = next(java for *gradle, java in _GRADLE_CAN if version >= tuple(gradle))
    runtime = Runtime("gradle", _release(wanted), manifest)
    tools = ("java",) if "gradlew" in tree.files else ("java", "gradle")
    return Plan(StrategyName.JAVA, manifest, steps, tools, runtime=runtime)


def _is_build(path: str) -> bool:
    return path.rpartition("/")[2] in _GRADLE_BUILDS and path.count("/") <= 3


def _build(command: str) -> PlannedStep:
    return check(CheckName.BUILD, "build", command, parallel=False)


def _tests(tree: ProjectTree, command: str) -> PlannedStep:
    if any(_TEST.search(path) for path in tree.files):
        return check(CheckName.TESTS, "test", command, ("build",), parallel=False)
    return skipped(CheckName.TESTS, "test", command, "no file in src/test", absent=True)


def _release(wanted: int | None) -> str:
    """Return the oldest release with long support that is new enough."""
    if wanted is None:
        return ""
    return f"={next((release for release in _LONG_SUPPORT if release >= wanted), wanted)}"


def _covers_below(tree: ProjectTree) -> bool:
    pom = tree.head("pom.xml", _HEAD)
    return "<module>" in pom or not tree.files.isdisjoint(_SETTINGS)


JAVA = Language(
    StrategyName.JAVA, ("pom.xml", *_GRADLE_BUILDS, *_SETTINGS), plan_part, _covers_below
)
