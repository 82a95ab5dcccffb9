"""Where the gateway takes mail; shared by both sides of the socket."""

PREFIX = "/-/mail/"
"""The relay's name follows."""
