"""NNI as a launcher: an NNI experiment whose trials are workers of a run. Only the run's study holds results.

`service` reads where they run, `experiment` starts and stops them, `worker` runs in each worker that NNI started.
"""
