"""Micro-apps: one folder a scenario, each a typed request, a card and a `run`. Start reading at `frame.py`."""
