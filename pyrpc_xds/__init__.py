"""Proxyless Istio mesh for Python: Thrift and Triple/gRPC routed by xDS, without a sidecar."""
