"""A log keeps the partitions that it began with, whatever a new one would have."""

from __future__ import annotations

from streams.local.journal.resuming import FORMER_PARTITIONS, kept_partitions
from streams.local.journal.store import Journal, JournalRecord


def test_a_new_log_has_no_number_of_partitions_yet(tmp_path):
    assert kept_partitions(tmp_path / "j") is None


def test_a_log_has_the_number_that_was_kept(tmp_path):
    with Journal(tmp_path / "j") as journal:
        journal.keep_partitions(3)

    assert kept_partitions(tmp_path / "j") == 3


def test_a_log_without_a_number_has_that_of_the_releases_that_kept_none(tmp_path):
    """Its highest partition may be empty, so its records do not have the number."""
    with Journal(tmp_path / "j") as journal:
        journal.append([JournalRecord("commands", 0, 0, 1, None, b"v")])

    assert kept_partitions(tmp_path / "j") == FORMER_PARTITIONS
