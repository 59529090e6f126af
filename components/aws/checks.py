"""Mistakes in arguments that all topologies on AWS share, each with what is allowed."""

import re
from collections.abc import Mapping
from typing import NotRequired, TypedDict

import pulumi

_DOMAIN = re.compile(r"(?=.{4,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}")
_INSTANCE_TYPE = re.compile(r"[a-z][a-z0-9-]*\.[a-z0-9-]+")
_IMAGE = re.compile(r"ami-[0-9a-f]{8,17}")


class PlaceArgs(TypedDict):
    """What every topology on AWS takes."""

    zone: str
    """Name of the public hosted zone in Route 53 that the domain lies in."""
    image: NotRequired[str]
    """Machine image of the hosts, an id of a Debian 12 image."""
    monthlyBudget: NotRequired[int]
    """US dollars a month."""
    budgetEmail: NotRequired[str]
    """Who gets the warning."""
    alarmEmail: NotRequired[str]
    """Who hears that a host does not answer."""


def check_place(
    domain: str, args: PlaceArgs, instance_types: Mapping[str, str]
) -> list[pulumi.InputPropertyErrorDetails]:
    """Mistakes in the name, the hosts and the budget; `instance_types` by the argument that names them."""
    errors: list[pulumi.InputPropertyErrorDetails] = []

    def wrong(path: str, reason: str) -> None:
        errors.append({"property_path": path, "reason": reason})

    zone = args["zone"].rstrip(".")
    if not _DOMAIN.fullmatch(domain):
        wrong("domain", f"{domain!r} is no host name; write it like hub.example.org")
    if domain != zone and not domain.endswith(f".{zone}"):
        wrong("domain", f"{domain} is not in the hosted zone {zone!r}")
    for path, kind in instance_types.items():
        if not _INSTANCE_TYPE.fullmatch(kind):
            wrong(path, f"{kind!r} is no instance type; write it like t3.small")
    image = args.get("image")
    if image and not _IMAGE.fullmatch(image):
        wrong("image", f"{image!r} is no id of a machine image (ami-…)")
    budget = args.get("monthlyBudget")
    if budget is not None and budget < 1:
        wrong("monthlyBudget", f"{budget} is no amount of dollars")
    if budget and "@" not in args.get("budgetEmail", ""):
        wrong("budgetEmail", "a budget needs the address that is warned")
    told = args.get("alarmEmail")
    if told is not None and "@" not in told:
        wrong("alarmEmail", f"{told!r} is no e-mail address")
    return errors


def alarm_email(args: PlaceArgs) -> str:
    """Who hears that a hub does not answer: who is named for it, or for the budget; empty where nobody is."""
    return args.get("alarmEmail", args.get("budgetEmail", ""))


def check_alarm_email(args: PlaceArgs) -> list[pulumi.InputPropertyErrorDetails]:
    """Whether anybody would hear that a hub does not answer."""
    if alarm_email(args):
        return []
    reason = "needs the address that hears when the hub does not answer; without it, that of `budgetEmail` is taken"
    return [{"property_path": "alarmEmail", "reason": reason}]


def check_data_protection(domain: str, *, keep: bool, confirmed: str) -> list[pulumi.InputPropertyErrorDetails]:
    """Whether who asks for the loss of homes and database said so twice: `destroy` on AWS has no undo."""
    if keep or confirmed == domain:
        return []
    reason = (
        f"dataProtection is false, so that destroy deletes every home and the hub's database; "
        f"if that is meant, set this to the domain, {domain}"
    )
    return [{"property_path": "confirmDataLoss", "reason": reason}]
