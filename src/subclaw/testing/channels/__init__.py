"""Local servers that stand for the providers of channels, faithful in signatures, retries, limits and errors."""
