"""Projects that are data: their tests are not ours."""

collect_ignore = ["cases"]
