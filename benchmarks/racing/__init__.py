"""Races of search strategies on landscapes whose true values are known. ``race.py`` beside it is the command line.

Read in this order: ``landscape`` (the space searched), ``contest`` (one race of one contestant), ``contestants`` (the
strategies by name), ``score`` (the measure), ``records`` (resuming), ``report`` (tables, tests, curves).
"""
