"""What the exchange decides. No gRPC, no HTTP: only the domain."""
