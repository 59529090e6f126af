"""A policy pack that guards quotas, outbound access and exposure of notebook services."""
