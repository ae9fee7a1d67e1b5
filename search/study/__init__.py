"""The run's study as its workers share it: what is done, what comes next, and which worker does it."""
