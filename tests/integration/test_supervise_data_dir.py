import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from relay.supervise.data_dir import DataDir, DataDirError


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_keys_are_made_once_and_for_their_owner_only(tmp_path: Path) -> None:
    data_dir = DataDir(tmp_path / "data")
    token, keys = data_dir.admin_token(), data_dir.secret_keys()
    assert len(token) >= 43
    Fernet(keys)
    again = DataDir(tmp_path / "data")
    assert (again.admin_token(), again.secret_keys(), again.known_admin_token()) == (token, keys, token)
    assert _mode(data_dir.path) == 0o700
    assert _mode(data_dir.admin_token_file) == 0o600
    assert _mode(data_dir.secret_keys_file) == 0o600


def test_two_that_start_at_once_agree_on_the_keys(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        tokens = set(pool.map(lambda _: DataDir(tmp_path / "data").admin_token(), range(32)))
    assert len(tokens) == 1


def test_an_existing_directory_keeps_its_mode(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o755)
    DataDir(tmp_path / "data").admin_token()
    assert _mode(tmp_path / "data") == 0o755


def test_asking_for_the_token_makes_nothing(tmp_path: Path) -> None:
    assert DataDir(tmp_path / "data").known_admin_token() is None
    assert not (tmp_path / "data").exists()


def test_a_directory_that_cannot_be_used_is_told_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file in the way")
    with pytest.raises(DataDirError, match="set RELAY_DATA_DIR"):
        DataDir(tmp_path / "data").admin_token()
    with pytest.raises(DataDirError, match="set RELAY_DATA_DIR"):
        DataDir(tmp_path / "data").redis("redis").lock()


def test_one_redis_at_a_time_has_the_directory(tmp_path: Path) -> None:
    place = DataDir(tmp_path).redis("redis")
    held = place.lock()
    assert held is not None
    assert place.lock() is None
    os.close(held)
    again = place.lock()
    assert again is not None
    os.close(again)


def test_a_path_too_long_for_a_socket_gets_a_short_and_private_one(tmp_path: Path) -> None:
    place = DataDir(tmp_path / ("x" * 100)).redis("redis")
    held = place.lock()
    assert held is not None
    os.close(held)
    assert len(str(place.socket)) < 100
    assert _mode(place.socket.parent) == 0o700
    assert place.socket == DataDir(tmp_path / ("x" * 100)).redis("redis").socket
    place.socket.parent.rmdir()
