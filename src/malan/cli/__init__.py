"""The `malan` command: parse, call one service, show. Start reading at `main.py`."""
