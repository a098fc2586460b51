"""The names of a job that Flower shows as its task's arguments."""

import ast

from revalid.jobs.task_arguments import task_arguments
from tests.jobs.samples import make_job


def shown(project: str = "", origin: str = "", **labels: str) -> dict[str, str]:
    text = task_arguments(make_job(tenant="acme", labels=labels), project, origin)
    return dict(ast.literal_eval(text))


def test_names_alone_are_shown() -> None:
    assert list(shown("shop", "/work/shop", team="web").items()) == [
        ("project", "shop"),
        ("label.team", "web"),
        ("origin", "/work/shop"),
        ("tenant", "acme"),
        ("strategy", "auto"),
    ]
    assert shown() == {"tenant": "acme", "strategy": "auto"}


def test_a_urls_credentials_are_left_out() -> None:
    origin = "https://user:s3cr3t@host.example/team/shop.git?token=s3cr3t#main"
    assert shown("shop", origin)["origin"] == "https://host.example/team/shop.git#main"
    assert shown(link="https://s3cr3t@host/x")["label.link"] == "https://host/x"
    assert shown("shop", "git@host:team/shop")["origin"] == "git@host:team/shop"


def test_it_is_bounded_and_has_no_invisible_characters() -> None:
    labels = {f"{at}\\'\"{'n' * 100}": "\\'\"" * 100 for at in range(64)}
    job = make_job(tenant="t" * 64, labels=labels)
    text = task_arguments(job, "\\'" * 500, "\\'" * 500)
    assert len(text) <= 1_000, "a worker drops a message whose description is longer"
    assert len(ast.literal_eval(text)) == 7
    assert shown("a\x1b[31m\u202eb\n")["project"] == "a?[31m?b?"
    assert shown("p" * 100, "o" * 100 + "end")["origin"].endswith("end")
