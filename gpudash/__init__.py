"""gpudash: a full-screen terminal dashboard for every rented GPU, so that none can burn money unseen.

This module imports nothing, so that ``gpudash --version`` and the first frame stay fast.
"""

__version__ = "0.1.0"
