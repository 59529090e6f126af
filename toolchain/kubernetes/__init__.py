"""A Kubernetes cluster of one node for tests and development, in namespaces of its own on this machine."""
