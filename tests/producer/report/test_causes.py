"""Failures, grouped by cause."""

import random
from time import process_time

import pytest

from revalid.jobs.result import Verdict
from revalid.producer.report import Row
from revalid.producer.report.causes import find_causes, shape
from tests.producer.report import outputs
from tests.producer.report.samples import failing, row, step, unfinished

PACKAGES = ("zod", "left-pad", "@trpc/server", "lodash.merge", "react-dom")
PATHS = ("src/App.tsx", "client/src/pages/Home.tsx", "server/src/index.ts", "a.ts")
TYPES = ("string", "number", "{ id: string; name: string; }", "string | undefined")


def plant(kind: int, name: str, rng: random.Random) -> Row:
    """Return a failure of one of five kinds, with details that differ each time."""
    words = {
        "path": rng.choice(PATHS),
        "line": rng.randrange(1, 400),
        "given": rng.choice(TYPES),
        "wanted": rng.choice(TYPES),
        "want": rng.randrange(100),
        "got": rng.choice(["3", "'a b'", "undefined", "{ a: 1, b: [ 1, 2 ] }", "-0.5"]),
        "took": rng.randrange(10, 9_000),
        "package": rng.choice(PACKAGES),
        "version": f"{rng.randrange(90, 99)}.{rng.randrange(9)}.0",
        "hash": f"{rng.getrandbits(32):08x}",
    }
    place = rng.choice(["", " client", " server"])
    match kind:
        case 0:
            output = rng.choice([outputs.TSC, outputs.TSC_PRETTY])
            return failing(name, f"typecheck{place}", output.format(**words))
        case 1:
            return failing(name, "install", stderr=outputs.NPM_ETARGET.format(**words))
        case 2:
            return failing(name, f"build{place}", stderr=outputs.VITE.format(**words))
        case 3:
            return failing(name, f"test{place}", stderr=outputs.VITEST.format(**words))
        case _:
            slow = step(f"test{place}", 143, timed_out=True, duration_s=rng.uniform(5, 50))
            return row(name, slow, verdict=Verdict.TIMED_OUT)


def test_five_planted_kinds_in_a_batch_of_1000_are_five_causes() -> None:
    rng = random.Random(7)
    numbers = (120, 80, 60, 30, 10)
    rows = [row(f"fine-{n}", step("install"), step("test")) for n in range(690)]
    rows += [unfinished(f"late-{n}") for n in range(10)]
    for kind, number in enumerate(numbers):
        rows += [plant(kind, f"kind-{kind}-{n}", rng) for n in range(number)]
    rng.shuffle(rows)
    causes = find_causes(rows)
    assert [cause.number for cause in causes] == list(numbers)
    assert [cause.check for cause in causes] == ["typecheck", "install", "build", "test", "test"]
    assert [cause.title for cause in causes] == [
        "TS2322: Type … is not assignable to type …",
        "ETARGET: No matching version found for …",
        "Rollup failed to resolve import … from …",
        "AssertionError: expected … to be … // Object.is equality",
        "timed out after … s",
    ]
    for kind, cause in enumerate(causes):
        assert len(cause.projects) == cause.number
        assert {name.split("-")[1] for name in cause.projects} == {str(kind)}


def test_ten_thousand_failures_group_in_seconds() -> None:
    rng = random.Random(7)
    rows = [plant(n % 5, f"app-{n}", rng) for n in range(4_000)]
    letters = "abcdefghijklmnop"
    alone = ["".join(rng.choices(letters, k=8)) for _ in range(36_000)]
    rows += [
        failing(
            f"alone-{n}", "build", f"error: {' '.join(alone[6 * n : 6 * n + 6])}\n" + "x\n" * 999
        )
        for n in range(6_000)
    ]
    started = process_time()
    causes = find_causes(rows)
    assert process_time() - started < 30
    assert [cause.number for cause in causes[:6]] == [800] * 5 + [1]


@pytest.mark.parametrize(
    "output",
    [
        "Type '" * 20_000,
        "a.b." * 20_000 + "Error",
        "A" * 80_000 + "Error",
        "npm error code ENOENT\n" + "npm error path x\n" * 5_000,
        ("x" * 3 + "/") * 20_000 + ": error: " + "y  [" * 20_000,
        "failed " + "1.2-3@" * 13_000,
        "failed " + "{[" * 40_000,
        " " * 80_000 + "expect(",
    ],
    ids=range(8),
)
def test_hostile_output_costs_no_more_than_other(output: str) -> None:
    started = process_time()
    assert len(find_causes([failing("a", "build", output)])) == 1
    assert process_time() - started < 1


def cause_of(*outputs: str, check: str = "build") -> list[tuple[str, int]]:
    rows = [failing(f"app-{n}", check, output) for n, output in enumerate(outputs)]
    return [(cause.title, cause.number) for cause in find_causes(rows)]


def test_a_title_keeps_what_all_share() -> None:
    assert cause_of("error: no seat 12 in room B", "error: no seat 7 in room B") == [
        ("no seat … in room B", 2)
    ]
    assert cause_of("Error: Cannot find module 'zod'", "Error: Cannot find module 'zod'") == [
        ("Cannot find module 'zod'", 2)
    ]


def test_messages_that_are_nearly_equal_are_one_cause() -> None:
    said = "error: the schema of the generated client was out of date, run {} again"
    assert len(cause_of(said.format("codegen"), said.format("generate"))) == 1


def test_errors_of_different_kinds_stay_apart() -> None:
    tsc = "a.ts(1,1): error {}: Type 'a' is not assignable to type 'b'."
    assert len(cause_of(tsc.format("TS2322"), tsc.format("TS2345"))) == 2
    found = "AssertionError: expected 1 to {} 2"
    assert len(cause_of(found.format("be"), found.format("be greater than"))) == 2
    assert len(cause_of("Error: Cannot find module 'a'", "Error: Cannot find package 'a'")) == 2


def test_the_same_words_in_another_check_are_another_cause() -> None:
    rows = [failing("a", "build", "error: no"), failing("b", "test", "error: no")]
    assert [cause.check for cause in find_causes(rows)] == ["build", "test"]


def test_errors_that_name_a_machine_are_one_cause() -> None:
    said = "no Dagger engine answers at tcp://10.0.0.{}:8080 within 15 s: start one"
    rows = [
        Row(project=f"a{n}", id="0", verdict=Verdict.ERRORED, error=said.format(n))
        for n in range(3)
    ]
    (cause,) = find_causes(rows)
    assert (cause.check, cause.number) == ("errored", 3)
    assert cause.message == said.format(0)


def test_a_project_counts_once_however_often_it_was_run() -> None:
    rows = [failing("a", "build", "error: no") for _ in range(3)]
    (cause,) = find_causes(rows)
    assert (cause.projects, cause.number) == (("a",), 1)


@pytest.mark.parametrize(
    ("message", "left"),
    [
        ("src/a.ts:3:4 - broken", "… - broken"),
        ("/workspace/a/b.py:3: it can't be", "… it can't be"),
        ("chunk index-4f2a9c1e.js took 12.5ms", "chunk … took …"),
        ("commit deadbeef12 of zod@^3.1.0 failed", "commit … of … failed"),
        ("expected { a: { b: [ 1 ] } } to be null", "expected … to be …"),
        ("foo.bar is not a function", "… is not a function"),
        ("GET https://registry.npmjs.org/left-pad - 404", "GET … - …"),
    ],
)
def test_a_shape_holds_no_names_paths_or_numbers(message: str, left: str) -> None:
    assert shape(message) == left


@pytest.mark.parametrize("message", ["", "…", "plain words stay as they are"])
def test_a_shape_of_a_shape_is_itself(message: str) -> None:
    assert shape(shape(message)) == shape(message) == message
