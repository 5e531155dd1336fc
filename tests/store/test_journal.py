from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.store.journal import Journal, read

RECORDS = [{"id": "a", "text": "one\nline"}, {"id": "b", "text": "tüd \u2028"}, {"id": "c", "text": ""}]


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    path = tmp_path / "outcomes.journal"
    with Journal(path) as opened:
        opened.append(RECORDS[:1])
        opened.append(RECORDS[1:])
    return path


def test_what_was_appended_comes_back(journal: Path) -> None:
    assert read(journal) == RECORDS
    with Journal(journal) as again:
        assert again.recovered == RECORDS


def test_every_truncation_keeps_the_whole_records_before_it(journal: Path) -> None:
    content = journal.read_bytes()
    ends = [i + 1 for i, byte in enumerate(content) if byte == ord("\n")]
    for length in range(len(content)):
        journal.write_bytes(content[:length])
        expected = RECORDS[: sum(end <= length for end in ends)]
        with Journal(journal) as opened:
            assert opened.recovered == expected
            opened.append([{"id": "new"}])
        assert read(journal) == [*expected, {"id": "new"}]


def test_a_damaged_record_in_the_middle_is_set_aside_and_the_others_kept(journal: Path) -> None:
    content = bytearray(journal.read_bytes())
    second = content.index(b"\n") + 80
    content[second] ^= 1
    journal.write_bytes(content)
    with Journal(journal) as opened:
        assert opened.recovered == [RECORDS[0], RECORDS[2]]
    assert read(journal) == [RECORDS[0], RECORDS[2]]
    assert journal.with_name("outcomes.journal.0.bad").exists()


@given(position=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_no_flipped_bit_ever_yields_a_record_that_was_not_written(
    position: int, bit: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("j") / "j"
    with Journal(path) as opened:
        opened.append(RECORDS)
    content = bytearray(path.read_bytes())
    content[position % len(content)] ^= 1 << bit
    path.write_bytes(content)
    assert all(record in RECORDS for record in read(path))


def test_opening_ten_times_changes_no_byte(journal: Path) -> None:
    before = journal.read_bytes()
    for _ in range(10):
        Journal(journal).close()
    assert journal.read_bytes() == before
