"""The hub of a Docker Swarm: its configuration, spawner, user networks and proxy."""
