"""Programs on pipes: small scripts, each a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PATIENCE = 30.0
PREAMBLE = """
import sys, os, time, json, asyncio, warnings
import seastream_nb as ss
def say(*what):
    print(*what, file=sys.stderr, flush=True)
"""


def start(script: str, **how: Any) -> subprocess.Popen[bytes]:
    """A running script; `say` writes to its stderr, since stdout is for messages."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-c", PREAMBLE + script], env=environment, **{**pipes, **how}
    )


def run(script: str, given: bytes = b"", **how: Any) -> tuple[bytes, list[str]]:
    """What a script printed, and the lines that it said, when it was given this input."""
    with start(script, **how) as process:
        try:
            printed, said = process.communicate(given, PATIENCE)
        finally:
            process.kill()
    assert process.returncode == 0, said.decode()
    return printed, said.decode().splitlines()
