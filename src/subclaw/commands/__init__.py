"""What the commands do, one file each; `cli` parses the command line and calls them."""
