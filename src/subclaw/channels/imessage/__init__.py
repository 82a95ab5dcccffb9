"""iMessage, by a BlueBubbles server on a Mac."""
