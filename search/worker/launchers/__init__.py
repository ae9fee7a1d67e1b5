"""Launchers: engines that start, follow and stop the workers of a run, and find them again.

`order` says what is asked for, `launcher` what every engine is; `registry` lists them, `following` waits for their
workers, `command` has the words that start one. An engine is one class that fits `launcher.Launcher`, and its fleet.
"""
