"""Schedules: what agents set for later happens when it is due."""
