"""`python -m millstream` is the command line."""

from millstream.app.cli.main import main

main()
