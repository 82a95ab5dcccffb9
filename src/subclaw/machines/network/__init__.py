"""The only way out of a machine: a namespace with nothing in it but its cable, and the gateway's sockets behind it."""
