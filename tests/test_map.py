"""CONTRIBUTING.md is the map of the package: it names every module, and no other."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "seastream_nb"
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def modules_of_the_map() -> list[str]:
    """The paths in the indented block; a folder ends in a slash and stands for its `__init__`."""
    _, _, block = CONTRIBUTING.partition("    seastream_nb/\n")
    found: list[str] = []
    folders = {6: ""}  # by how far their contents are indented
    for line in block.partition("\n\n")[0].splitlines():
        indent, name = len(line) - len(line.lstrip()), line.split()[0]
        inside = folders[indent]
        if name.endswith("/"):
            folders[indent + 2] = inside + name
            found.append(f"{inside}{name}__init__.py")
            continue
        names = re.match(r"(?:[\w/]+\.py +)+", line.strip())
        found += [inside + each for each in names[0].split()] if names else [line]
    return found


def test_the_map_names_every_module_once_and_nothing_else():
    modules = [str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py")]
    assert sorted(modules_of_the_map()) == sorted(modules)


def test_every_dependency_is_listed_with_a_reason():
    extras = PYPROJECT["project"]["optional-dependencies"]
    required = PYPROJECT["project"]["dependencies"] + [*extras["polars"], *extras["sql"]]
    names = {re.match(r"[\w-]+", each)[0] for each in [*required, *extras["fast"], *extras["dev"]]}
    table = CONTRIBUTING.partition("## Dependencies")[2].partition("## Commits")[0]
    listed = set(re.findall(r"[\w-]+", table))
    assert names - {"seastream-nb"} - listed == set()


def test_it_is_short():
    assert len(CONTRIBUTING.splitlines()) <= 180
