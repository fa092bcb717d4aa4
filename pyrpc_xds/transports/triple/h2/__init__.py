"""Triple and gRPC over nghttp2: a shorter way than grpcio for the calls that it carries."""
