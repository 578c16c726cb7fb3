"""A program that writes to a library until it is killed: registers, scans, scans again, tends."""

import sys
from itertools import count
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from store.library_factory import an_asset, put

from malan.store import Library

if __name__ == "__main__":
    library = Library(Path(sys.argv[1]))
    print("writing", flush=True)  # noqa: T201
    for number in count(int(sys.argv[2])):
        row = an_asset(str(number))
        put(library, row, "夜景", "夜景", "夜景")
        put(library, row, "夜景", "夜景", "夜景")
        if number % 3 == 2:
            library.tend()
