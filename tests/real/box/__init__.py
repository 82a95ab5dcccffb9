"""A real box under test. A package, so that its boxes end with its tests and not with the whole run."""
