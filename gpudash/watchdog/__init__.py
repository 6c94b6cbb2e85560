"""The guard outside the host: ends managed instances that are past their deadline, and harms nobody else.

`judge` decides (pure), `loop` looks, acts and reports.
"""
