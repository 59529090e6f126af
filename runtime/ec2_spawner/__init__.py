"""A JupyterHub spawner that gives each user an EC2 instance and a volume that outlives it."""
