"""`interlock demo`: Nordwind Coffee, a shop and three systems in trouble, told and counted in the terminal."""

from interlock.cli.demo.verb import command

__all__ = ["command"]
