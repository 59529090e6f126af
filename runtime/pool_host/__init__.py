"""What each host of a pool on AWS does: have the containers that its bundle describes, until there is another bundle."""
