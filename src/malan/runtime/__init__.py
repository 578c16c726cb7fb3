"""What runs the work: worker processes with limits, and jobs that survive a kill.

Start reading at `pool.py` for one task in one process, at `jobs.py` for a piece of work with thousands of items.
"""

from malan.runtime.limits import Limits
from malan.runtime.pool import Outcome, Task, WorkerPool

__all__ = ["Limits", "Outcome", "Task", "WorkerPool"]
