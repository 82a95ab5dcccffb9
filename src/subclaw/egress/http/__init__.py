"""HTTP in the gateway: streams, heads, bodies, both versions of it, and carrying a request there and an answer back."""
