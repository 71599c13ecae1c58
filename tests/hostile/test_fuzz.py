"""A short run of the fuzzer, always the same; `python -m tests.hostile.fuzz COUNT` goes on."""

from tests.hostile.fuzz import run


def test_bent_files_are_read_or_refused() -> None:
    whole = run(range(1500))
    # Some bends do no harm; were none read, the seeds would be wrong.
    assert 10 < whole < 1000
