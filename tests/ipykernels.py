"""The versions of ipykernel that differ in how they interrupt cells and deliver clicks.

`python -m tests.ipykernels` puts each into a folder beside the packages of this environment, whose
own ipykernel stays what it is.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

# The last of those without subshells; subshells that answer clicks at once; the newest.
VERSIONS = ("6.31.0", "7.3.0", "7.4.0")
FOLDER = Path(sys.prefix, "ipykernels")


def require_ipykernel(version: str) -> Path:
    """The folder to import that version from; skips the test where it is missing."""
    if not (FOLDER / version).is_dir():
        pytest.skip(f"there is no ipykernel {version} here: python -m tests.ipykernels")
    return FOLDER / version


def install(version: str) -> None:
    """Put that version where `require_ipykernel` finds it, unless it is there."""
    if (FOLDER / version).is_dir():
        return
    # Its folder appears when it is whole. What it depends on comes from the environment.
    part = FOLDER / f"{version}.part"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run(
        [*pip, "--no-deps", "--upgrade", "--target", part, f"ipykernel=={version}"], check=True
    )
    part.rename(FOLDER / version)


if __name__ == "__main__":
    for each in VERSIONS:
        install(each)
