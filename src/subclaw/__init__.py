"""subclaw: a self-hosted platform that runs agents as a service. ARCHITECTURE.md is the way in."""
