"""Projects of Maven and Gradle are built and tested."""

import pytest

from tests.worker.strategies.conftest import PlanOf, commands, skips

POM = "<project><properties><java.version>{}</java.version></properties></project>"
TEST = {"src/test/java/ATest.java": ""}


def test_maven_builds_and_tests(plan_of: PlanOf) -> None:
    plan = plan_of({"pom.xml": POM.format(17), **TEST})
    assert list(commands(plan)) == ["build", "test"]
    assert commands(plan)["test"].startswith("mvn -B -ntp -Dmaven.repo.local=")
    assert plan.image == "maven:3.9-eclipse-temurin-17"


def test_maven_of_the_wrapper_runs_where_none_is_installed(plan_of: PlanOf) -> None:
    command = commands(plan_of({"pom.xml": "", "mvnw": "", **TEST}))["test"]
    assert command.startswith("mvn() { if command -v mvn")


def test_without_tests_they_are_absent(plan_of: PlanOf) -> None:
    assert skips(plan_of({"pom.xml": ""})) == {"test": "no file in src/test"}


@pytest.mark.parametrize(
    ("version", "image"),
    [("1.8", "8"), ("9", "11"), ("21", "21"), ("22", "25"), ("${x}", "21")],
)
def test_the_image_has_the_oldest_java_that_is_new_enough(
    plan_of: PlanOf, version: str, image: str
) -> None:
    plan = plan_of({"pom.xml": POM.format(version)})
    assert plan.image == f"maven:3.9-eclipse-temurin-{image}"


def test_modules_are_covered_by_the_root(plan_of: PlanOf) -> None:
    modules = "<project><modules><module>api</module></modules></project>"
    plan = plan_of({"pom.xml": modules, "api/pom.xml": POM.format(21)})
    assert list(commands(plan)) == ["build"]


WRAPPER = "gradle/wrapper/gradle-wrapper.properties"


@pytest.mark.parametrize(
    ("build", "gradle", "image"),
    [
        ("java { toolchain { languageVersion = JavaLanguageVersion.of(17) } }", "8.5", "8-jdk17"),
        ("kotlin { jvmToolchain(21) }", "8.5", "8-jdk21"),
        ("sourceCompatibility = JavaVersion.VERSION_1_8", "8.5", "8-jdk8"),
        ("", "7.6", "8-jdk17"),
        ("", "8.10", "8-jdk21"),
    ],
)
def test_the_image_of_gradle_fits_its_build_or_its_wrapper(
    plan_of: PlanOf, build: str, gradle: str, image: str
) -> None:
    url = f"distributionUrl=https\\://services.gradle.org/distributions/gradle-{gradle}-bin.zip"
    plan = plan_of({"build.gradle": build, "gradlew": "", WRAPPER: url, **TEST})
    assert plan.image == f"gradle:{image}"
    assert "\nsh ./gradlew --no-daemon" in commands(plan)["test"]


def test_gradle_without_a_wrapper_is_that_of_the_image(plan_of: PlanOf) -> None:
    files = {"settings.gradle.kts": "", "app/build.gradle.kts": "", "app/src/test/kotlin/A.kt": ""}
    plan = plan_of(files)
    assert list(commands(plan)) == ["build", "test"]
    assert "\ngradle --no-daemon" in commands(plan)["test"]
    assert plan.tools == ("java", "gradle")
