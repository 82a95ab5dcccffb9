"""The HTTP API, version 1: what an agent's owner builds on. Its own document is at `/v1/openapi.json`."""
