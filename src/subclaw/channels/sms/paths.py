"""Where Twilio calls."""

WEBHOOK_PATH = "/webhooks/twilio/sms"
STATUS_PATH = "/webhooks/twilio/status"
"""Where receipts come; tenant, reply and part follow, as `SmsChannel` appends them."""
