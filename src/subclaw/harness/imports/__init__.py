"""Agents from elsewhere: what becomes of their files in a tenant's house. Pure: files in, files and a report out."""
