"""`python -m subclaw`."""

from subclaw.cli import main

main()
