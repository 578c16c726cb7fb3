"""Makes the fixtures of `label_files` known to the tests beside."""

from label_files import file, label

__all__ = ["file", "label"]
