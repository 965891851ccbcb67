"""A disk that is really full: a small tmpfs, mounted where only one child process sees it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

MOUNTED = 'mount -t tmpfs -o size=1m tmpfs "$0" && exec "$@"'
BEGIN = """
import errno, os, sys
from pathlib import Path
import pytest
import seastream_nb as ss

disk = Path(sys.argv[1])
text = "x" * 1_000

def full(error):
    return error.errno == errno.ENOSPC and "No space left on device" in str(error)

def stream(streamer, count=3_000):
    with streamer.producer("s") as producer:
        for number in range(count):
            producer.send(f"{number} {os.urandom(500).hex()}")
    return streamer["s"]
"""


def on_a_small_disk(folder: Path, script: str) -> None:
    """Run a script whose first argument is a disk of 1 MiB, or skip where none can be made."""
    unshare = shutil.which("unshare")
    made = [unshare or "", "--user", "--map-root-user", "--mount", "sh", "-c", MOUNTED, str(folder)]
    if unshare is None or subprocess.run([*made, "true"], capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    run = [sys.executable, "-c", BEGIN + script, str(folder)]
    done = subprocess.run([*made, *run], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_a_producer_says_so_and_what_it_acknowledged_is_in_the_file(tmp_path: Path) -> None:
    script = """
with ss.connect(disk / "a.ss", create="if_missing") as streamer:
    producer = streamer.producer("s")
    pending = [producer.send(f"{number} {text}") for number in range(2_000)]
    kept = 0
    for number, each in enumerate(pending):
        try:
            each.result(30)
            assert kept == number
            kept += 1
        except ss.NotSent as error:
            assert "No space left on device" in str(error)
    producer.end()  # every failure was seen
report = ss.verify(disk / "a.ss")
assert report.ok and report.messages == kept and 0 < kept < 2_000, (report, kept)
with ss.connect(disk / "a.ss") as streamer:
    assert [int(m.text().split()[0]) for m in streamer["s"]] == list(range(kept))
"""
    on_a_small_disk(tmp_path, script)


@pytest.mark.parametrize("export", ["to_ss", "to_parquet"])
def test_an_export_leaves_nothing_and_works_when_there_is_room(tmp_path: Path, export: str) -> None:
    script = f"""
filler = disk / "filler"
with ss.connect("embedded:") as streamer:
    read = stream(streamer, 600)
    filler.write_bytes(bytes(850_000))
    with pytest.raises(ss.FileError) as caught:
        read.{export}(disk / "out")
    assert full(caught.value), caught.value
    assert [each.name for each in disk.iterdir()] == ["filler"]
    filler.unlink()
    assert read.{export}(disk / "out").messages == 600
"""
    on_a_small_disk(tmp_path, script)


def test_an_export_that_may_resume_goes_on_when_there_is_room(tmp_path: Path) -> None:
    script = """
filler = disk / "filler"
with ss.connect("embedded:") as streamer:
    read = stream(streamer, 600)
    filler.write_bytes(bytes(850_000))
    with pytest.raises(ss.FileError) as caught:
        read.to_ss(disk / "out.ss", resume=True)
    assert full(caught.value), caught.value
    filler.unlink()
    assert read.to_ss(disk / "out.ss", resume=True).messages == 600
assert ss.verify(disk / "out.ss").ok and ss.verify(disk / "out.ss").messages == 600
"""
    on_a_small_disk(tmp_path, script)


def test_a_recording_keeps_what_was_recorded(tmp_path: Path) -> None:
    script = """
with ss.connect("embedded:") as streamer:
    read = stream(streamer)
    with pytest.raises(ss.FileError) as caught:
        read.record(disk / "out.ss", messages=3_000)
    assert full(caught.value), caught.value
report = ss.verify(disk / "out.ss")
assert report.ok and 0 < report.messages < 3_000
with ss.connect(disk / "out.ss") as streamer:
    assert [int(m.text().split()[0]) for m in streamer["s"]] == list(range(report.messages))
"""
    on_a_small_disk(tmp_path, script)


def test_a_repair_leaves_nothing(tmp_path: Path) -> None:
    script = """
import tempfile
with tempfile.TemporaryDirectory() as roomy:
    source = Path(roomy) / "a.ss"
    with ss.connect(source, create="if_missing") as streamer:
        stream(streamer)
    with pytest.raises(ss.FileError) as caught:
        ss.repair(source, disk / "b.ss")
assert full(caught.value), caught.value
assert list(disk.iterdir()) == []
"""
    on_a_small_disk(tmp_path, script)
