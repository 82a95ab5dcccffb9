"""Machines made real: the golden image, QEMU microvms, their disks, the fleet of one host, and its API."""
