"""Races of search strategies on landscapes whose true values are known. ``race.py`` beside it is the command line.

Read in this order: ``landscape`` (what is searched), ``contest`` (one race of one contestant), ``contestants`` (who
takes part), ``score`` (what counts), ``records`` (resuming), ``report`` (tables, tests, curves).
"""
