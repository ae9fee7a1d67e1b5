"""Run the command line as `python -m search.cli`."""

from search.cli.program import main

main()
