"""The operator's console: figures, states and times in a browser, never a tenant's words."""
