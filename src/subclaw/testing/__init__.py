"""Fakes of what is outside, held to the same contracts as the real thing; shipped, since others need them too."""
