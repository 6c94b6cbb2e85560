"""Fleets without a network: made-up rows that tick (``gpudash demo --synthetic N``), and the scripted scene of the
pictures.
"""
