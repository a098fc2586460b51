"""Which directories are parts of a project."""

from revalid.worker.strategies.parts import MAX_PARTS, not_covered, split_parts


def test_a_part_is_not_data_and_not_inside_another() -> None:
    directories = ["web", "web/inner", "tests/fixtures/a", ".hidden/a", "deep/er"]
    parts, others = split_parts(directories, root_has_checks=False)
    assert parts == ["web", "deep/er"]
    assert sorted(others) == [".hidden/a", "tests/fixtures/a", "web/inner"]


def test_the_number_of_parts_is_bounded() -> None:
    parts, others = split_parts([f"p{n}" for n in range(100)], root_has_checks=False)
    assert (len(parts), len(others)) == (MAX_PARTS, 100 - MAX_PARTS)


def test_a_note_names_what_is_not_covered() -> None:
    assert not_covered([], "package.json") == []
    (note,) = not_covered([f"d{n}" for n in range(9)], "package.json")
    assert note == "not covered by a check: package.json in d0, d1, d2, d3, d4, d5 and 3 more"
