"""Control groups: what a machine's processes may use of the host."""
