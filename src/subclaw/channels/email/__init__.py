"""E-mail: a server of ours for what comes in, and the operator's relay for what goes out."""
