"""Who hears that a host does not answer: an alarm for each health check, and a topic that sends e-mails."""

import pulumi
import pulumi_aws as aws

from components.aws.dns import https_check

METRICS_REGION = "us-east-1"
"""Route 53 writes its figures there, wherever hosts are; alarms, and the topics that they tell, are beside them."""

MINUTE_SECONDS = 60
MINUTES = 3
"""Minutes in a row without a sound answer before an e-mail: one that is bad may be a router's fault."""


def alarm_topic(name: str, email: str, opts: pulumi.ResourceOptions) -> aws.sns.Topic:
    """A topic whose messages go to `email`, who has to agree once: AWS sends a link.

    Alarms cannot write to a topic that AWS's own key encrypts, so none does; messages name a host and its state.
    """
    # By a name of our own: an update that was killed while it made one finds the same again.
    topic = aws.sns.Topic(f"{name}-alarms", name=f"{name}-alarms", region=METRICS_REGION, opts=opts)
    aws.sns.TopicSubscription(
        f"{name}-alarms", topic=topic.arn, protocol="email", endpoint=email, region=METRICS_REGION, opts=opts
    )
    return topic


def https_check_with_alarm(
    name: str, domain: str, path: str, alarms: aws.sns.Topic, opts: pulumi.ResourceOptions, *, port: int = 443
) -> None:
    """Ask `https://domain:port/path` continuously; tell when it has not answered for some minutes, and when it does again.

    Args:
        name: the resources' name.
        domain: the host's name.
        path: what of it is asked; it answers with a status of 2xx or 3xx when all is well.
        alarms: the topic that is told.
        opts: resource options.
        port: TCP port.
    """
    check = https_check(name, domain, path, opts, port=port)
    aws.cloudwatch.MetricAlarm(
        name,
        name=name,
        alarm_description=f"https://{domain} does not answer as it should",
        namespace="AWS/Route53",
        metric_name="HealthCheckStatus",
        dimensions={"HealthCheckId": check.id},
        statistic="Minimum",
        comparison_operator="LessThanThreshold",
        threshold=1,
        period=MINUTE_SECONDS,
        evaluation_periods=MINUTES,
        # A check that says nothing any more is no good news.
        treat_missing_data="breaching",
        alarm_actions=[alarms.arn],
        ok_actions=[alarms.arn],
        region=METRICS_REGION,
        opts=opts,
    )
