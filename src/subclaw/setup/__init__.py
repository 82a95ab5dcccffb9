"""Set-up of a box: Debian packages, system users, the virtual environment, the golden image.

Runs before anything is installed, on Debian's own Python: it imports the standard library and `subclaw.core.errors`.
"""
