"""Slack, by its Events API and its Web API."""
