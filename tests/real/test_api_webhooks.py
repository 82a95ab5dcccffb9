"""Webhooks that go out: through a real gateway, signed so that Standard Webhooks' own library believes them."""



