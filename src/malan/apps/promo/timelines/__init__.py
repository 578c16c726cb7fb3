"""The cut for editing systems, each kind in a file of its own, from one description of it (`edit.py`)."""
