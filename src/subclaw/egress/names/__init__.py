"""Names: what machines are told of them, and where the gateway finds hosts."""
