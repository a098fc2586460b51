"""Webhooks: the URLs to which a job's verdict is posted."""

import re
from collections.abc import Sequence
from urllib.parse import urlsplit

from pydantic import SecretStr, ValidationError

from revalid.jobs.errors import InvalidJob, PolicyRefused
from revalid.jobs.job import Job
from revalid.jobs.signing import Signed, check_signature, sign
from revalid.jobs.steps import Frozen

_MAX_URL = 2_048
_PRINTABLE = re.compile(r"[!-~]*")


class WebhookSubscription(Frozen):
    """A webhook as the ledger holds it.

    Attributes:
        labels: Of the submit that named the URL; the job may have been made by another.
    """

    job_id: str
    url: str
    labels: dict[str, str]


def check_url(url: str, allow: Sequence[str]) -> None:
    """Refuse what cannot be a webhook; where its host is, only a worker judges.

    Args:
        allow: ``REVALID_WEBHOOK_ALLOW``, without which only https is.

    Raises:
        InvalidJob: One line that says what is wrong. It does not quote the URL.
    """
    problem = None
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise InvalidJob("webhook: it is no URL; give one such as https://host/path") from None
    if len(url) > _MAX_URL or not _PRINTABLE.fullmatch(url) or "\\" in url:
        problem = f"it is longer than {_MAX_URL} characters or has one that no URL has"
    elif parts.scheme not in ("https", "http") or not parts.hostname:
        problem = "give an https:// URL with a host"
    elif "@" in parts.netloc:
        problem = "no user or password in it: the signature says who calls"
    elif "#" in url:
        problem = "no # in it: that part of a URL is not sent"
    elif parts.scheme == "http" and not allow:
        problem = "http:// is for hosts that REVALID_WEBHOOK_ALLOW names: use https://"
    if problem:
        raise InvalidJob(f"webhook: {problem}")


def encode_hook(job: Job, url: str, signing_key: SecretStr | None) -> str:
    """What the ledger keeps until the job is done."""
    text = WebhookSubscription(job_id=job.id, url=url, labels=job.labels).model_dump_json()
    return f"{sign(signing_key, Signed.WEBHOOK, text) if signing_key is not None else ''} {text}"


def decode_hook(text: str, job_id: str, signing_key: SecretStr | None) -> WebhookSubscription:
    """Read what :func:`encode_hook` made.

    Raises:
        PolicyRefused: It is not signed with this worker's key, of another job, or nothing of ours.
    """
    signature, _, record = text.partition(" ")
    check_signature(signing_key, Signed.WEBHOOK, record, signature)
    try:
        hook = WebhookSubscription.model_validate_json(record)
    except ValidationError:
        raise PolicyRefused("no webhook that this version can read") from None
    if hook.job_id != job_id:
        raise PolicyRefused("the webhook is of another job")
    return hook
