"""A process that only reads a batch sees its state and changes nothing."""

import threading
from collections.abc import Callable

from revalid.producer.batch.reader import BatchReader, Progress
from revalid.producer.batch.runner import BatchRunner
from revalid.producer.batch.state import BatchStore, Plan
from revalid.producer.client import Client
from revalid.producer.submission import Submission
from tests.producer.batch.batches import NUMBER, judge_all


def test_a_reader_submits_and_writes_nothing(
    client: Client, store: BatchStore, plan: Plan, send: Callable[[Submission], str]
) -> None:
    seen: list[Progress] = []
    looked = threading.Event()

    def read() -> None:
        def look(progress: Progress) -> None:
            looked.set()

        seen.append(BatchReader(client, store, plan).follow(look))

    thread = threading.Thread(target=read)
    thread.start()
    assert looked.wait(30)
    assert (store.jobs(plan.id), store.errors(plan.id)) == ({}, {})
    runner = BatchRunner(client, store, plan, send=send)
    runner.run(judge_all(client, runner), lambda: None)
    thread.join(30)
    assert [progress.verdicts for progress in seen] == [{"passed": NUMBER}]
    assert store.errors(plan.id) == {}
