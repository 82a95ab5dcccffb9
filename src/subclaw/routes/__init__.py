"""What visitors reach: Caddy's configuration, static releases, and the publisher that ties them to the stored sites."""
