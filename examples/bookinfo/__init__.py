"""Istio's Bookinfo over Thrift, with a lane of its own for dyed traffic."""
