"""Secrets on their way: put in where they belong, and kept from coming back."""
