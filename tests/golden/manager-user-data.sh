#!/bin/bash
readonly BUNDLE=s3://lab-bundle-bucket/manager.tar.gz
readonly BUNDLE_SHA256=0000000000000000000000000000000000000000000000000000000000000000
readonly DATA_DEVICE=/dev/nvme1n1
readonly DOMAIN=hub.example.org
readonly LAUNCH_TEMPLATE=lab-worker-id
readonly REGION=us-east-1
readonly SECRET=arn:aws:service:us-east-1:123456789012:lab-hub
readonly SESSION_MANAGER=yes
readonly SUBNETS=us-east-1a=lab-us-east-1a-private-id,us-east-1b=lab-us-east-1b-private-id
# The cluster's manager: JupyterHub, its proxy and Caddy, from packages locked by hash. Above stand the values.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive AWS_DEFAULT_REGION="$REGION"
exec > >(tee -a /var/log/hubstack-boot.log) 2>&1

apt-get update -q
apt-get install -qy --no-install-recommends \
    awscli ca-certificates caddy curl iproute2 node-configurable-http-proxy python3-venv

# Shell access is Session Manager's alone: there is no key and no open port 22.
if [ "$SESSION_MANAGER" = yes ]; then
    curl -fsSL -o /tmp/ssm.deb \
        "https://s3.$REGION.amazonaws.com/amazon-ssm-$REGION/latest/debian_amd64/amazon-ssm-agent.deb"
    apt-get install -qy /tmp/ssm.deb
fi

# The hub's database outlives the host: a disk that is formatted only when it is blank.
if [ -n "$DATA_DEVICE" ]; then
    for _ in $(seq 120); do [ -b "$DATA_DEVICE" ] && break; sleep 1; done
    blkid "$DATA_DEVICE" >/dev/null || mkfs.ext4 -q -L hubstack-data "$DATA_DEVICE"
    mkdir -p /srv/hub
    grep -q hubstack-data /etc/fstab || echo "LABEL=hubstack-data /srv/hub ext4 defaults,nofail 0 2" >>/etc/fstab
    mountpoint -q /srv/hub || mount /srv/hub
fi
mkdir -p /srv/hub /opt/hubstack /srv/bundles

aws s3 cp --only-show-errors "$BUNDLE" /tmp/bundle.tar.gz
echo "$BUNDLE_SHA256  /tmp/bundle.tar.gz" | sha256sum --check --quiet
tar -xzf /tmp/bundle.tar.gz -C /opt/hubstack --no-same-owner
python3 -m venv /opt/hubstack/venv
/opt/hubstack/venv/bin/pip install --quiet --no-cache-dir --require-hashes \
    -r /opt/hubstack/runtime/ec2_spawner/requirements.lock
# Workers have no role: they fetch what they install from here.
install -m 644 /opt/hubstack/runtime/ec2_spawner/notebook.lock /srv/bundles/notebook.lock

useradd --system --home /srv/hub --shell /usr/sbin/nologin hub 2>/dev/null || true
chown -R hub: /srv/hub
# In memory, readable by the hub alone.
install -d -m 700 -o hub -g hub /run/hubstack-secrets
umask 077
aws secretsmanager get-secret-value --secret-id "$SECRET" --query SecretString --output text |
    python3 -c 'import json, pathlib, sys
for name, value in json.load(sys.stdin).items():
    pathlib.Path("/run/hubstack-secrets", name).write_text(value)'
chown -R hub: /run/hubstack-secrets
umask 022

cat >/etc/systemd/system/hubstack-proxy.service <<'UNIT'
[Unit]
Description=configurable-http-proxy
After=network-online.target
[Service]
User=hub
ExecStart=/bin/sh -c 'CONFIGPROXY_AUTH_TOKEN=$(cat /run/hubstack-secrets/proxy-token) exec configurable-http-proxy --ip=127.0.0.1 --port=8000 --api-ip=127.0.0.1 --api-port=8001 --no-x-forward'
Restart=always
[Install]
WantedBy=multi-user.target
UNIT
cat >/etc/systemd/system/hubstack-hub.service <<UNIT
[Unit]
Description=JupyterHub
After=hubstack-proxy.service
[Service]
User=hub
WorkingDirectory=/srv/hub
Environment=PYTHONPATH=/opt/hubstack AWS_DEFAULT_REGION=$REGION
Environment=LAUNCH_TEMPLATE=$LAUNCH_TEMPLATE SUBNETS=$SUBNETS
ExecStart=/opt/hubstack/venv/bin/jupyterhub --config /opt/hubstack/runtime/ec2_spawner/jupyterhub_config.py
Restart=always
[Install]
WantedBy=multi-user.target
UNIT
cat >/etc/systemd/system/hubstack-bundles.service <<'UNIT'
[Unit]
Description=Files for workers
[Service]
DynamicUser=yes
ExecStart=/usr/bin/python3 -m http.server 8888 --directory /srv/bundles
Restart=always
[Install]
WantedBy=multi-user.target
UNIT
cat >/etc/caddy/Caddyfile <<CADDY
{
	admin off
}
$DOMAIN {
	reverse_proxy 127.0.0.1:8000
	header Strict-Transport-Security "max-age=31536000"
}
CADDY
systemctl daemon-reload
systemctl enable hubstack-proxy hubstack-hub hubstack-bundles caddy
systemctl restart hubstack-proxy hubstack-hub hubstack-bundles caddy
