"""Tenants' disks: files on the host, what is recorded beside them, and their checkpoints."""
