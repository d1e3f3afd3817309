"""Turns what sources deliver into what the maps hold: one loop, one interpreter of plans."""
