"""Signed records: the ledger signs them, and workers check them before they run a job."""

import hashlib
import hmac

import pytest
from pydantic import SecretStr
from redis import Redis

from revalid.jobs.errors import PolicyRefused
from revalid.jobs.ledger.ledger import Ledger
from revalid.jobs.signing import Signed, check_signature, sign
from tests.jobs.ledgers import JOB

KEY = SecretStr("a key")


@pytest.mark.parametrize("key", [KEY, None], ids=["checked", "without a key"])
def test_a_signature_with_the_key_is_accepted(redis: Redis, key: SecretStr | None) -> None:
    ledger = Ledger(redis, signing_key=KEY)
    ledger.submit(JOB, "q")
    record = ledger.record(JOB.id)
    check_signature(key, Signed.RECORD, record.job, record.signature)


@pytest.mark.parametrize(
    ("signed_with", "words"), [(None, "is not signed"), (SecretStr("b"), "has a wrong signature")]
)
def test_anything_else_is_refused(redis: Redis, signed_with: SecretStr | None, words: str) -> None:
    ledger = Ledger(redis, signing_key=signed_with)
    ledger.submit(JOB, "q")
    record = ledger.record(JOB.id)
    with pytest.raises(PolicyRefused, match=f"{words}: give its producer the REVALID_SIGN"):
        check_signature(KEY, Signed.RECORD, record.job, record.signature)


def test_a_changed_record_is_refused(redis: Redis) -> None:
    ledger = Ledger(redis, signing_key=KEY)
    ledger.submit(JOB, "q")
    record = ledger.record(JOB.id)
    with pytest.raises(PolicyRefused, match="has a wrong signature"):
        check_signature(KEY, Signed.RECORD, record.job.replace("auto", "npm"), record.signature)


def test_a_signature_of_one_kind_is_not_valid_for_another() -> None:
    """With one key, a signature of one kind of text would be valid for another kind."""
    text = "a text that both kinds could be"
    with pytest.raises(PolicyRefused, match="has a wrong signature"):
        check_signature(KEY, Signed.RECORD, text, sign(KEY, Signed.WEBHOOK, text))
    plain = hmac.new(KEY.get_secret_value().encode(), text.encode(), hashlib.sha256).hexdigest()
    for kind in Signed:
        check_signature(KEY, kind, text, sign(KEY, kind, text))
        assert sign(KEY, kind, text) != plain, "what REVALID_SIGNING_KEY itself would sign"
