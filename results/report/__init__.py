"""Reports: the page of a run or of a training, and pictures of fronts and of curves."""
