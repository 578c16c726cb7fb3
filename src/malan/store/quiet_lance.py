"""Lance, whose own log keeps to errors: its warnings are for those who write this package, not for those who use it."""

import os

os.environ.setdefault("LANCE_LOG", "error")  # read once, when the library is loaded

import lance

__all__ = ["lance"]
