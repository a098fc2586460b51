"""Output as text and as live events."""

import json
import re
from typing import Any

import pytest

from revalid.worker.run.output import LiveOutput, to_text
from revalid.worker.sandboxes.protocol import Stream
from revalid.worker.secrets import Scrubber

SECRET = "s3cret-value"


def live(scrubber: Scrubber, budget: int = 10_000) -> tuple[LiveOutput, list[dict[str, Any]]]:
    events: list[dict[str, Any]] = []
    output = LiveOutput(lambda _, data: events.append(data), 3, scrubber, [budget])
    return output, events


def test_whole_stream_is_its_text() -> None:
    assert to_text(Stream("grüße".encode(), b"", 7), Scrubber(())) == "grüße"


def test_bytes_left_out_in_the_middle_are_counted() -> None:
    text = to_text(Stream(b"head", b"tail", 108), Scrubber(()))
    assert text == "head\n[revalid: 100 bytes left out]\ntail"


def test_value_cut_by_the_cap_is_masked() -> None:
    stream = Stream(f"x {SECRET[:6]}".encode(), f"{SECRET[-6:]} y".encode(), 1000)
    text = to_text(stream, Scrubber([SECRET]))
    assert text.splitlines() == ["x ***", "[revalid: 984 bytes left out]", "*** y"]


@pytest.mark.parametrize("cut", range(10, len("pässwört-日本語".encode())))
def test_value_cut_inside_a_letter_is_masked(cut: int) -> None:
    value = "pässwört-日本語"
    data, scrubber = value.encode(), Scrubber([value])
    head, tail = data[:cut], data[-cut:]
    kept = to_text(Stream(b"x " + head, tail + b" y", 1000), scrubber).splitlines()
    assert (kept[0], kept[2]) == ("x ***", "*** y")


def test_path_of_the_worker_cut_by_the_cap_is_removed() -> None:
    scrubber = Scrubber((), root="/tmp/revalid-x/root")
    text = to_text(Stream(b"at /tmp/revalid-x/ro", b"", 1000), scrubber)
    assert text.startswith("at \n")


def test_undecodable_bytes_are_replaced() -> None:
    assert to_text(Stream(b"a\xffb", b"", 3), Scrubber(())) == "a�b"


@pytest.mark.parametrize("size", [1, 2, 5, 100])
def test_live_chunks_join_to_the_scrubbed_text(size: int) -> None:
    output, events = live(Scrubber([SECRET]))
    printed = f"grüße {SECRET} and {SECRET[:5]} ende".encode()
    for start in range(0, len(printed), size):
        output.feed("stdout", printed[start : start + size])
    output.finish()
    assert "".join(event["text"] for event in events) == f"grüße *** and {SECRET[:5]} ende"
    assert {(event["index"], event["stream"]) for event in events} == {(3, "stdout")}


def test_live_output_holds_back_only_a_possible_value() -> None:
    output, events = live(Scrubber([SECRET], root="/tmp/worker/root"))
    output.feed("stdout", b"begun\n")
    output.feed("stdout", SECRET[:4].encode())
    assert [event["text"] for event in events] == ["begun\n"]
    output.feed("stdout", b"! /tmp/worker/root/workspace")
    output.finish()
    assert "".join(event["text"] for event in events) == f"begun\n{SECRET[:4]}! /workspace"


def test_live_output_ends_at_its_budget() -> None:
    output, events = live(Scrubber(()), budget=8_192)
    output.feed("stderr", b"x" * 100_000)
    output.finish()
    assert sum(len(event["text"]) for event in events) == 8_192


@pytest.mark.parametrize("size", [1, 3, 64, 65])
def test_live_chunks_leak_no_part_of_values_that_overlap(size: int) -> None:
    long = "".join(chr(33 + number % 90) for number in range(500))
    output, events = live(Scrubber(["xpass", "password123", long]))
    printed = f"<xpassword123> <xpassok> <pass> <{long}>"
    for start in range(0, len(printed), size):
        output.feed("stdout", printed[start : start + size].encode())
    output.finish()
    text = re.sub(r"(\*\*\*)+", "***", "".join(event["text"] for event in events))
    assert text == "<***> <***ok> <pass> <***>"


def test_live_output_holds_back_at_most_a_piece_of_a_value() -> None:
    output, events = live(Scrubber(["a" * 65_536]))
    for _ in range(100):
        output.feed("stdout", b"a" * 1_000)
    printed = "".join(event["text"] for event in events)
    assert set(printed) == {"*"}
    assert len(output._pending["stdout"][0]) < 64


def test_the_budget_of_live_output_counts_json() -> None:
    output, events = live(Scrubber(()), budget=100_000)
    output.feed("stdout", bytes(1_000_000))
    output.finish()
    assert sum(len(json.dumps(event["text"])) for event in events) < 100_000 + 50_000
