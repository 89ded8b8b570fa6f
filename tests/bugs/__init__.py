"""Bugs that are put into a copy of the source, one at a time, to find out which layer of the tests notices them."""
