"""What topologies on AWS share: network, hosts, firewall, access, storage, names and quotas."""
