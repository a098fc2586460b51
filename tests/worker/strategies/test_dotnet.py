"""Solutions and projects of .NET are restored, built and tested."""

import pytest

from tests.worker.strategies.conftest import PlanOf, commands, skips, steps_by_name

PROJECT = "<Project><TargetFramework>{}</TargetFramework>{}</Project>"
TEST_SDK = '<PackageReference Include="Microsoft.NET.Test.Sdk" />'


def test_a_solution_is_restored_built_and_tested(plan_of: PlanOf) -> None:
    files = {
        "App.sln": "",
        "src/App/App.csproj": PROJECT.format("net8.0", ""),
        "tests/App.Tests/App.Tests.csproj": PROJECT.format("net8.0", TEST_SDK),
    }
    plan = plan_of(files)
    assert list(commands(plan)) == ["install", "build", "test"]
    assert commands(plan)["test"].endswith("\ndotnet test App.sln --no-build")
    assert not steps_by_name(plan)["install"].cacheable
    assert plan.image == "mcr.microsoft.com/dotnet/sdk:8.0"


def test_without_a_test_project_tests_are_absent(plan_of: PlanOf) -> None:
    assert skips(plan_of({"App.csproj": PROJECT.format("net9.0", "")})) == {
        "test": "no test project"
    }


def test_a_project_in_a_folder_is_built_there(plan_of: PlanOf) -> None:
    plan = plan_of({"src/App.csproj": PROJECT.format("net9.0", "")})
    assert commands(plan)["build src"].startswith("cd src && {")


@pytest.mark.parametrize("framework", ["net48", "net8.0-windows"])
def test_what_needs_windows_is_unproven(plan_of: PlanOf, framework: str) -> None:
    plan = plan_of({"App.csproj": PROJECT.format(framework, "")})
    assert skips(plan) == {"build": f"{framework} does not run on Linux"}
    assert not plan.steps[0].absent


@pytest.mark.parametrize(
    ("files", "version"),
    [
        ({"A.csproj": PROJECT.format("net8.0", "")}, "8.0"),
        ({"A.csproj": "<TargetFrameworks>net8.0;net9.0</TargetFrameworks>"}, "9.0"),
        ({"A.csproj": "", "global.json": '{"sdk": {"version": "9.0.100"}}'}, "9.0"),
        ({"A.csproj": ""}, "8.0"),
    ],
)
def test_the_framework_chooses_the_image(
    plan_of: PlanOf, files: dict[str, str], version: str
) -> None:
    assert plan_of(files).image == f"mcr.microsoft.com/dotnet/sdk:{version}"
