"""Where the gateway answers about signatures; shared by both sides of the socket."""

PREFIX = "/-/verify/"
