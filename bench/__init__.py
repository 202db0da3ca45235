"""What Gatelodge costs per request, next to nginx and Envoy. Run it with `make bench`."""
