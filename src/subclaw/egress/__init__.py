"""The egress gateway: the only process that opens secrets, and the way out to what the operator allows."""
