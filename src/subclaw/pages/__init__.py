"""What every page that subclaw serves itself has in common: its look, its files, its headers, who may post to it."""
