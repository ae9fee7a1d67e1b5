"""Here, so that the tests of the folders below find the modules beside it."""
