"""A support agent for a shop, with the shop: `make support` starts both, and prints where the shop's page is."""
