"""What is ours below `/_/` of tenants' hostnames: forms, webhooks, ways into private sites, reports; short links."""
