"""Apps as jobs: asked for by whoever may, done by workers, one queue for each device.

Start at `asks` for the way in, `work` for the worker, `clock` for what a server does by itself.
"""
