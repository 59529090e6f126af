"""The packet filter of the `open` egress profile, on each node beside the bridge that servers leave by."""
