"""``revalid artifacts``."""

from pathlib import Path

from tests.producer.cli.conftest import Revalid


def test_artifacts_of_a_failed_job_are_listed_and_unpacked(served: Revalid, tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "file").write_text("content")
    command = "mkdir -p out/deep && echo kept >out/deep/report && exit 3"
    arguments = ("--sandbox", "local", "--command", command)
    ran = served("run", project, *arguments, "--artifact", "out", "--json")
    assert (ran.status, ran.json["verdict"]) == (1, "failed")
    assert ran.json["artifacts"]["files"] == 1
    job_id = ran.json["id"]

    assert served("artifacts", job_id).out.split() == ["5", "out/deep/report"]
    assert served("artifacts", job_id, "--json").json["names"] == ["out/deep/report"]
    target = tmp_path / "target"
    assert served("artifacts", job_id, "--output", target).status == 0
    assert (target / "out/deep/report").read_text() == "kept\n"
    again = served("artifacts", job_id, "--output", target)
    assert (again.status, "not an empty directory" in again.error) == (2, True)

    without = served("run", project, *arguments, "--json")
    assert without.json["id"] != job_id, "what is kept is part of the job"
    none = served("artifacts", without.json["id"])
    assert (none.status, "--artifact GLOB" in none.error) == (2, True)


def test_a_glob_that_leads_out_is_refused(revalid: Revalid, tmp_path: Path) -> None:
    for glob in ("../secret", "/etc/passwd", "a/../../b", ""):
        ran = revalid("run", tmp_path, "--command", "true", "--artifact", glob)
        assert (ran.status, "artifacts" in ran.error) == (2, True)
