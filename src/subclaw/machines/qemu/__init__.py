"""One QEMU: its jail, command line and monitor, and the templates and snapshots that machines are restored from."""
