"""What operators, probes and Prometheus read: health, metrics, status, configuration. It changes
nothing.
"""
