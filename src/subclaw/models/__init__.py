"""Models: providers behind the port `core.model.Model`, and the built-in demo."""
