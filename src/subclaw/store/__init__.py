"""The only store: PostgreSQL, one SQL function a step, tenants apart by row-level security.

The functions live in `migrations/`; a module here gives each of them a typed call. `cluster` runs a private PostgreSQL.
"""
