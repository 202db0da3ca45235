"""The configuration: its model, and the way from a YAML file or from flags to it."""
