"""Each process of a worker has a name of its own in the ledger."""

import pytest

from revalid.worker.process_names import START, process_name


def test_two_starts_of_one_process_id_have_two_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend to be in two containers with one host name."""
    names = set()
    for _ in range(2):
        monkeypatch.delenv(START, raising=False)
        names.add(process_name(7))
        assert process_name(7) in names
        monkeypatch.undo()
    assert len(names) == 2
