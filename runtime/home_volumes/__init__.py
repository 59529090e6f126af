"""A Docker volume driver whose volumes have a size that their users cannot exceed."""
