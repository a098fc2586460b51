"""Webhooks: URLs to which a job's verdict is posted."""

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
        labels: Labels of the submit that named the URL; another submit may have made the job.
    """

    job_id: str
    url: str
    labels: dict[str, str]


def check_url(url: str, allow: Sequence[str]) -> None:
    """Refuse a URL that cannot be a webhook; only a worker resolves and checks the host.

    Args:
        allow: ``REVALID_WEBHOOK_ALLOW``; if it is empty, only https is allowed.

    Raises:
        InvalidJob: The URL is wrong; the message does not quote it.
    """
    problem = None
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise InvalidJob("webhook: not a URL; give one such as https://host/path") from None
    if len(url) > _MAX_URL or not _PRINTABLE.fullmatch(url) or "\\" in url:
        problem = f"the URL is longer than {_MAX_URL} characters or has an invalid one"
    elif parts.scheme not in ("https", "http") or not parts.hostname:
        problem = "give an https:// URL with a host"
    elif "@" in parts.netloc:
        problem = "the URL must not have a user or password: the signature authenticates the call"
    elif "#" in url:
        problem = "the URL must not have a #: that part is not sent"
    elif parts.scheme == "http" and not allow:
        problem = "http:// is only for hosts in REVALID_WEBHOOK_ALLOW: use https://"
    if problem:
        raise InvalidJob(f"webhook: {problem}")


def encode_hook(job: Job, url: str, signing_key: SecretStr | None) -> str:
    """Encode and sign a subscription for the ledger."""
    text = WebhookSubscription(job_id=job.id, url=url, labels=job.labels).model_dump_json()
    return f"{sign(signing_key, Signed.WEBHOOK, text) if signing_key is not None else ''} {text}"


def decode_hook(text: str, job_id: str, signing_key: SecretStr | None) -> WebhookSubscription:
    """Decode the text that :func:`encode_hook` made.

    Raises:
        PolicyRefused: It is not signed with this worker's key, is of another job, or is malformed.
    """
    signature, _, record = text.partition(" ")
    check_signature(signing_key, Signed.WEBHOOK, record, signature)
    try:
        hook = WebhookSubscription.model_validate_json(record)
    except ValidationError:
        raise PolicyRefused("the webhook is not readable by this version") from None
    if hook.job_id != job_id:
        raise PolicyRefused("the webhook belongs to another job")
    return hook
