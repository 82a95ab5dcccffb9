"""Sessions of a business's customers, which come and are read by the HTTP API (`api/v1`)."""
