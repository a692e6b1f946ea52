from __future__ import annotations

import os
from pathlib import Path

import pytest

from workers.health import FRESH_S, Heartbeat, check


class Clock:
    now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data directory, and a directory for temporary files that nobody else uses."""
    for name in ("data", "tmp"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    return tmp_path / "data"


def test_a_beat_is_fresh_for_half_a_minute(data_dir: Path) -> None:
    clock = Clock()
    heartbeat = Heartbeat("worker", data_dir=data_dir, clock=clock)
    assert heartbeat.beat()
    assert check("worker", data_dir=data_dir, now_s=clock.now_s + FRESH_S).fresh
    assert not check("worker", data_dir=data_dir, now_s=clock.now_s + FRESH_S + 1).fresh
    clock.now_s += FRESH_S
    heartbeat.beat()
    assert check("worker", data_dir=data_dir, now_s=clock.now_s + FRESH_S).fresh
    heartbeat.end()
    assert not check("worker", data_dir=data_dir, now_s=clock.now_s).fresh


def test_roles_do_not_stand_in_for_each_other(data_dir: Path) -> None:
    heartbeat = Heartbeat("worker", data_dir=data_dir, clock=Clock())
    heartbeat.beat()
    assert not check("scheduler", data_dir=data_dir, now_s=1_000).fresh
    heartbeat.end()


def test_one_silent_process_among_several_is_enough_to_be_unwell(data_dir: Path) -> None:
    heartbeat = Heartbeat("worker", data_dir=data_dir, clock=Clock())
    heartbeat.beat()
    (data_dir / "run" / f"worker-{os.getppid()}.beat").write_text("900.0")
    found = check("worker", data_dir=data_dir, now_s=1_000)
    assert not found.fresh
    assert "100 s" in found.reason
    heartbeat.end()


def test_files_of_processes_that_are_gone_count_for_nothing_and_are_cleaned_up(data_dir: Path) -> None:
    gone = data_dir / "run" / "worker-4194305.beat"  # beyond the largest process id there is
    gone.parent.mkdir()
    gone.write_text("1000.0")
    assert not check("worker", data_dir=data_dir, now_s=1_000).fresh
    heartbeat = Heartbeat("worker", data_dir=data_dir, clock=Clock())
    heartbeat.beat()
    assert check("worker", data_dir=data_dir, now_s=1_000).fresh
    assert not gone.exists()
    heartbeat.end()


def test_a_file_from_before_the_machine_started_counts_for_nothing(data_dir: Path) -> None:
    heartbeat = Heartbeat("worker", data_dir=data_dir, clock=Clock())
    heartbeat.beat()
    assert not check("worker", data_dir=data_dir, now_s=5).fresh
    heartbeat.end()


def test_without_a_data_directory_a_directory_for_temporary_files_serves(data_dir: Path) -> None:
    heartbeat = Heartbeat("worker", data_dir=data_dir / "none", clock=Clock())
    assert heartbeat.beat()
    assert not (data_dir / "none").exists()
    assert check("worker", data_dir=data_dir / "another", now_s=1_000).fresh
    heartbeat.end()


def test_a_data_directory_that_came_later_hides_no_process(data_dir: Path) -> None:
    heartbeat = Heartbeat("worker", data_dir=data_dir / "later", clock=Clock())
    heartbeat.beat()
    (data_dir / "later").mkdir()
    assert check("worker", data_dir=data_dir / "later", now_s=1_000).fresh
    heartbeat.end()


def test_a_link_that_somebody_put_in_our_place_is_not_followed(data_dir: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (data_dir / "run").symlink_to(elsewhere)
    heartbeat = Heartbeat("worker", data_dir=data_dir, clock=Clock())
    assert heartbeat.beat()
    assert list(elsewhere.iterdir()) == []
    heartbeat.end()


def test_a_file_that_was_cleaned_up_is_made_again(data_dir: Path) -> None:
    heartbeat = Heartbeat("worker", data_dir=data_dir, clock=Clock())
    heartbeat.beat()
    for file in (data_dir / "run").iterdir():
        file.unlink()
    heartbeat.beat()
    assert check("worker", data_dir=data_dir, now_s=1_000).fresh
    heartbeat.end()


def test_garbage_in_a_file_counts_for_nothing(data_dir: Path) -> None:
    (data_dir / "run").mkdir()
    (data_dir / "run" / f"worker-{os.getpid()}.beat").write_bytes(b"\xff\x00garbage")
    (data_dir / "run" / "worker-99999999999999999999.beat").write_text("1000")
    (data_dir / "run" / "other.txt").write_text("1000")
    assert not check("worker", data_dir=data_dir, now_s=1_000).fresh
