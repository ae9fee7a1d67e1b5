"""The command line, `boostformer`: one file per group of commands; `program` puts them together."""
