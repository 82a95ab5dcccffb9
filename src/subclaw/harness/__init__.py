"""The harness: what an agent is told of itself. The defaults lie in `defaults/`."""
