"""The command line, running notebooks, the static site, and `primer`, what only notebooks draw."""
