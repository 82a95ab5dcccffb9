"""Visitors of tenants' servers, who come by the doors: what they ask for, who is let in, and how it ends."""
