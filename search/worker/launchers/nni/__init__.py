"""NNI as a launcher: an experiment of NNI whose trials are workers of a run. The run's study stays the only truth.

`service` reads where they run, `experiment` starts and stops them, `worker` is what a worker does that NNI started.
"""
