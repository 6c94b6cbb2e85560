"""Adapters to clouds. `base` is the protocol, `registry` loads one by name when it is first needed."""
