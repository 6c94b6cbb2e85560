"""The name by which the rest of gpudash knows the client of the daemon."""

from gpudash.hosts.client import StatusClient

__all__ = ["StatusClient"]
