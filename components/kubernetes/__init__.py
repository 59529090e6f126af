"""What topologies on Kubernetes share."""
