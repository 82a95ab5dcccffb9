"""Accounts at providers: tokens that are fetched, kept and renewed here."""
