"""Where the gateway sends webhooks; for both ends of the socket."""

PATH = "/-/webhook"
