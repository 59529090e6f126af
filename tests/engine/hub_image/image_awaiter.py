#!/usr/bin/python3
"""Wait until the images are on every node, which is when the DaemonSet's pods are ready.

It takes the arguments that the chart gives its own awaiter, of which the names of namespace and DaemonSet count.
"""

import argparse
import json
import ssl
import time
import urllib.request
from pathlib import Path

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")

parser = argparse.ArgumentParser()
parser.add_argument("-namespace", required=True)
parser.add_argument("-daemonset", required=True)
given, _ = parser.parse_known_args()
url = f"https://kubernetes.default.svc/apis/apps/v1/namespaces/{given.namespace}/daemonsets/{given.daemonset}"
trusted = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
while True:
    asked = urllib.request.Request(url, headers={"Authorization": f"Bearer {(ACCOUNT / 'token').read_text()}"})
    try:
        with urllib.request.urlopen(asked, context=trusted, timeout=10) as answer:
            found = json.load(answer)
    except OSError as error:
        print(error, flush=True)  # noqa: T201  (the pod's log)
    else:
        status = found.get("status", {})
        wanted = status.get("desiredNumberScheduled", 0)
        current = status.get("observedGeneration") == found["metadata"]["generation"]
        if current and wanted and status.get("numberReady", 0) >= wanted:
            break
    time.sleep(1)
