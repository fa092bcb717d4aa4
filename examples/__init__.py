"""Scenarios: each a folder with the servers, the clients and the rules of `pyrpc-xds demo NAME`."""
