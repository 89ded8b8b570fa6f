"""`python -m interlock`: the command line, where the `interlock` script is not on the path."""

from interlock.cli.main import main

main()
