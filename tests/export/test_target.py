"""Targets: files that are there whole, or not at all."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from seastream_nb.errors import ExportExists, FileError
from seastream_nb.export.target import Target, created


def names(folder: Path) -> list[str]:
    return [each.name for each in folder.iterdir()]


def stopped(path: Path) -> None:
    with created(path) as file:
        file.write(b"abc")
        raise KeyboardInterrupt


def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    with created(path) as file:
        file.write(b"abc")
        assert not path.exists()
    assert path.read_bytes() == b"abc"
    assert names(tmp_path) == ["x.bin"]
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask


def test_what_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        stopped(tmp_path / "x")
    assert names(tmp_path) == []


def test_nothing_is_overwritten_unless_asked(tmp_path: Path) -> None:
    path = tmp_path / "x"
    target = Target(path)
    target.file.write(b"new")
    path.write_bytes(b"old")
    with pytest.raises(ExportExists, match="exists already"):
        target.commit()
    assert path.read_bytes() == b"old"
    other = Target(path, overwrite=True)
    other.file.write(b"newer")
    assert other.commit() == 5
    assert path.read_bytes() == b"newer"
    assert names(tmp_path) == ["x"]


def test_where_there_are_no_links_it_is_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "no links")

    monkeypatch.setattr(os, "link", refuse)
    with created(tmp_path / "x") as file:
        file.write(b"abc")
    with pytest.raises(ExportExists), created(tmp_path / "x"):
        pass
    assert (tmp_path / "x").read_bytes() == b"abc"
    assert names(tmp_path) == ["x"]


def test_a_folder_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="cannot be written"), created(tmp_path / "no" / "x"):
        pass
