"""`python -m seastream_nb`: the command line."""

from __future__ import annotations

from seastream_nb.cli import main

if __name__ == "__main__":
    main()
