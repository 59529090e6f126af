"""Secrets that nobody chooses: made once, and kept encrypted in the stack's state."""

import pulumi
import pulumi_random as random

TOKEN_BYTES = 32
"""As JupyterHub wants its cookie secret."""


def random_token(name: str, opts: pulumi.ResourceOptions) -> pulumi.Output[str]:
    """32 random bytes in hexadecimal.

    They are no `RandomId`, whose id the state holds in plain text.

    Args:
        name: the resource's name.
        opts: resource options.
    """
    return pulumi.Output.secret(random.RandomBytes(name, length=TOKEN_BYTES, opts=opts).hex)


def random_password(name: str, length: int, opts: pulumi.ResourceOptions) -> pulumi.Output[str]:
    """A password of letters and digits.

    Args:
        name: the resource's name.
        length: how many.
        opts: resource options.
    """
    return pulumi.Output.secret(random.RandomPassword(name, length=length, special=False, opts=opts).result)
