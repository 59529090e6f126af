"""A warning before a month's bill is a surprise."""

import pulumi
import pulumi_aws as aws

FULL = 100
WARNED_AT = (80, FULL)
"""Percent of the budget: the first of what was spent, the second of what AWS foresees."""


def monthly_budget(name: str, limit: int | None, email: str | None, opts: pulumi.ResourceOptions) -> None:
    """Warn `email` when the account's month nears `limit` US dollars; nothing where either is missing."""
    if not limit or not email:
        return
    aws.budgets.Budget(
        f"{name}-monthly",
        budget_type="COST",
        limit_amount=str(limit),
        limit_unit="USD",
        time_unit="MONTHLY",
        notifications=[
            aws.budgets.BudgetNotificationArgs(
                comparison_operator="GREATER_THAN",
                notification_type="FORECASTED" if percent == FULL else "ACTUAL",
                threshold=percent,
                threshold_type="PERCENTAGE",
                subscriber_email_addresses=[email],
            )
            for percent in WARNED_AT
        ],
        opts=opts,
    )
