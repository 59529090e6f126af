"""What each host of a Swarm on AWS does, again and again: join, hold the images, and on the leader deploy the stack."""
