"""The control plane's side: the upstreams that it calls by name, and what it asks of the gateway."""
