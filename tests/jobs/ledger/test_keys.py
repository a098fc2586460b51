"""Each key of Redis is spelt once in Python and once in Lua, and the same in both."""

import ast
import re
from pathlib import Path

from redis import Redis

from revalid.jobs.ledger import keys

ROOT = Path(__file__).parents[3]
LUA = ROOT / "jobs/ledger/lua"
PRELUDE = (LUA / "prelude.lua").read_text()


def lua_keys() -> list[tuple[str, int]]:
    """Name and number of arguments (0: a constant) of each key in the prelude."""
    constants = [
        name
        for names in re.findall(r"^local ([A-Z_, ]+) = 'revalid:", PRELUDE, re.M)
        for name in names.split(", ")
    ]
    functions = re.findall(r"^local function (\w+)\((.*?)\) return 'revalid:", PRELUDE, re.M)
    return [
        *((name, 0) for name in constants),
        *((name, len(arguments.split(","))) for name, arguments in functions),
    ]


def test_scripts_build_the_same_keys(redis: Redis) -> None:
    found = lua_keys()
    words = ["one", "two"]
    calls = [f"{name}({', '.join(map(repr, words[:n]))})" if n else name for name, n in found]
    spelt: list[str] = redis.eval(f"{PRELUDE}\nreturn {{{', '.join(calls)}}}", 0, 0, 0, 0)
    expected = [
        getattr(keys, name)(*words[:n]) if n else getattr(keys, f"{name}_KEY") for name, n in found
    ]
    assert spelt == expected
    assert len(found) == PRELUDE.count("'revalid:")


def test_no_other_script_spells_a_key() -> None:
    others = [file for file in LUA.glob("*.lua") if file.name != "prelude.lua"]
    assert [file.name for file in others if "revalid:" in file.read_text()] == []


def test_no_other_module_spells_a_key() -> None:
    own = Path("jobs/ledger/keys.py")
    modules = [
        file.relative_to(ROOT)
        for folder in ("jobs", "worker", "producer", "benchmarks")
        for file in (ROOT / folder).rglob("*.py")
    ]
    spelling = [str(module) for module in modules if _spells_a_key(ROOT / module)]
    assert spelling == [str(own)]


def test_no_two_keys_are_equal() -> None:
    samples = [
        value if isinstance(value, str) else value(*["x"] * value.__code__.co_argcount)
        for name, value in vars(keys).items()
        if name.lower().endswith("_key")
    ]
    assert len(set(samples)) == len(samples) > 40


def _spells_a_key(file: Path) -> bool:
    return any(
        isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and re.match(r"revalid:\S", node.value)
        for node in ast.walk(ast.parse(file.read_text()))
    )
