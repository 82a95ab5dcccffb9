"""Matrix, by the client-server API of a homeserver."""
