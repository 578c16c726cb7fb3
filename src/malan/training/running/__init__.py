"""One run of an algorithm: its phases shut in, its data through the loader, its weights written by us.

Start reading at `run.py`; how the parts of training fit is in docs/design/loader.md and docs/design/sandbox.md.
"""

from malan.training.running.local import LocalLine, local_job
from malan.training.running.plan import Program, RunPlan
from malan.training.running.run import Finished, run_algorithm
from malan.training.running.trial import make_trial

__all__ = ["Finished", "LocalLine", "Program", "RunPlan", "local_job", "make_trial", "run_algorithm"]
