"""Run the command line as `python -m boostformer`."""

from __future__ import annotations

from boostformer.rooms import open_rooms

if __name__ == "__main__":
    open_rooms()
    from search.cli.__main__ import main

    main()
