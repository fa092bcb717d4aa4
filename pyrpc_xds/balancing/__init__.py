"""Endpoint picking: live clusters and endpoints, and one file per policy."""
