"""The audit of isolation: canaries in customers of its own, adversarial conversations, and a search."""
