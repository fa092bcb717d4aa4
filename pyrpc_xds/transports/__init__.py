"""Transports: Thrift and Triple, behind the port of :mod:`pyrpc_xds.transports.base`."""
