"""`python -m malan` is the `malan` command."""

from malan.cli.main import main

main()
