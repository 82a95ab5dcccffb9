"""Golden images: built by a recipe, kept in a cache, listed and pruned."""
