"""Where a run's study is kept: a journal in its folder, or a database."""
