"""The built-in tools, one file a family, and the toolbox that checks a model's calls and performs them."""
