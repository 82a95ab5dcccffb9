"""The wiring: the parts of each process put together, one module a process. Nothing is decided here."""
