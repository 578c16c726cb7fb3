"""The data of a run: clips as numbered arrays, asked for in batches, every delivery counted before it is made.

Start reading at `loader.py`; docs/design/loader.md says what counts, what is covered and what is not.
"""

from malan.training.loader.counting import Counter, Uncounted
from malan.training.loader.dataset import ClipDataset
from malan.training.loader.holdings import Film, Footage, Holdings
from malan.training.loader.loader import Loader, split_facts
from malan.training.loader.requests import Allowed

__all__ = ["Allowed", "ClipDataset", "Counter", "Film", "Footage", "Holdings", "Loader", "Uncounted", "split_facts"]
