"""A strategy of revalid for projects of Mix, the build tool of Elixir."""

from revalid.strategies import CheckName, Language, Plan, ProjectTree, check, install, skipped

SET_UP = 'export MIX_HOME="$HOME/.mix" HEX_HOME="$HOME/.hex"\n'
GET = f"{SET_UP}mix local.hex --force && mix local.rebar --force && mix deps.get"


def plan_part(tree: ProjectTree) -> Plan:
    """Plan the download, the build and the tests of a directory with a ``mix.exs``."""
    locked = "mix.lock" in tree.files
    has_tests = any(path.endswith("_test.exs") for path in tree.files)
    command = f"{SET_UP}mix test"
    return Plan(
        strategy="example-elixir",
        reason="mix.exs",
        steps=(
            install(f"{GET} --check-locked" if locked else GET, cacheable=locked),
            check(CheckName.BUILD, "build", f"{SET_UP}mix compile", ("install",), parallel=False),
            check(CheckName.TESTS, "test", command, ("install",))
            if has_tests
            else skipped(CheckName.TESTS, "test", command, "no *_test.exs", absent=True),
        ),
        tools=("mix",),
        image="elixir:1.18",
    )


ELIXIR = Language("example-elixir", ("mix.exs",), plan_part)
