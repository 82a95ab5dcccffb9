"""Where the gateway connects accounts; shared by both sides of the socket."""

PATH = "/-/oauth/connect"
