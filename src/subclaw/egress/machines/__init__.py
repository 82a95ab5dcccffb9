"""Machines' side: what each may reach, and what becomes of its connections."""
