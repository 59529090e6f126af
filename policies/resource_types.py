"""Pulumi type tokens that the checks look at."""

SERVICE = "docker:index/service:Service"
CONTAINER = "docker:index/container:Container"
NETWORK = "docker:index/network:Network"
OPEN_NETWORK = "pulumi-python:dynamic/docker:OpenNetwork"
CONFIG = "docker:index/serviceConfig:ServiceConfig"
IMAGE = "docker:index/remoteImage:RemoteImage"
