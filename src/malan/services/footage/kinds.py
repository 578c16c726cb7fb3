"""The kinds of jobs by which footage comes into the library, and which of them fill it."""

ADD, SCAN, TRANSCRIBE = "asset.add", "asset.scan", "asset.transcribe"
WRITERS = (ADD, SCAN, TRANSCRIBE)
"""Of these one runs at a time in a workspace."""
