"""What the topologies on Docker engines share."""
