"""Kubernetes' objects as the checks read them, wherever they stand."""
