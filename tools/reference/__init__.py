"""The reference pages of the site, made from the code."""
