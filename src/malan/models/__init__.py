"""Sub-models: their files, their merging, their line back to footage and owners.

Start reading at `merge`.
"""
