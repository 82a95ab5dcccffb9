"""The page on which a person hands over a secret, once: it is sealed here, and never kept or shown."""
