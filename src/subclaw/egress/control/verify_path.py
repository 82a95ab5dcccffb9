"""Where the gateway says whether a signature is right, and what a provider sends along; for both ends of the socket."""

PREFIX = "/-/verify/"
WEBHOOK_SECRET_PREFIX = "/-/webhook-secret/"
