#!/bin/bash
# The cluster's manager: JupyterHub, its proxy and Caddy, from packages locked by hash. Above stand the values and the shared steps.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive AWS_DEFAULT_REGION="$REGION"
exec > >(tee -a /var/log/hubstack-boot.log) 2>&1

# Debian's version of the client does not read this variable, as later ones do.
aws() {
    command aws ${AWS_ENDPOINT_URL:+--endpoint-url "$AWS_ENDPOINT_URL"} "$@"
}

apt update
# Workers start from the same machine image and cannot fetch packages: what git needs beside the image is kept for them.
mkdir -p /var/cache/hubstack/packages
apt install -y --no-install-recommends --download-only -o Dir::Cache::archives=/var/cache/hubstack/packages git
apt install -y --no-install-recommends \
    awscli ca-certificates caddy curl e2fsprogs node-configurable-http-proxy python3-venv

if [ "$SESSION_MANAGER" = yes ]; then install_session_manager; fi

patiently aws s3 cp --only-show-errors "$BUNDLE" /tmp/bundle.tar.gz
echo "$BUNDLE_SHA256  /tmp/bundle.tar.gz" | sha256sum --check --quiet
mkdir -p /opt/hubstack /srv/hub
tar -xzf /tmp/bundle.tar.gz -C /opt/hubstack --no-same-owner
python3 -m venv /opt/hubstack/venv
patiently /opt/hubstack/venv/bin/pip install --quiet --no-cache-dir --require-hashes \
    -r /opt/hubstack/runtime/ec2_spawner/requirements.lock
useradd --system --home /srv/hub --shell /usr/sbin/nologin hub 2>/dev/null || true

# Secrets are kept in memory alone, so what needs them fetches them at every start. The hub's database is on a disk that
# outlives the host; a host that follows another may number its users anew.
cat >/etc/systemd/system/hubstack-proxy.service <<UNIT
[Unit]
Description=configurable-http-proxy
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=0
[Service]
User=hub
Environment=PYTHONPATH=/opt/hubstack AWS_DEFAULT_REGION=$REGION SECRET=$SECRET
ExecStartPre=+/opt/hubstack/venv/bin/python -m runtime.ec2_spawner.fetch_secrets
ExecStart=/bin/sh -c 'CONFIGPROXY_AUTH_TOKEN=\$(cat /run/hubstack-secrets/proxy-token) exec configurable-http-proxy --ip=127.0.0.1 --port=8000 --api-ip=127.0.0.1 --api-port=8001 --no-x-forward'
Restart=always
RestartSec=5
[Install]
WantedBy=multi-user.target
UNIT
cat >/etc/systemd/system/hubstack-hub.service <<UNIT
[Unit]
Description=JupyterHub
Wants=network-online.target
After=hubstack-proxy.service network-online.target
StartLimitIntervalSec=0
[Service]
User=hub
WorkingDirectory=/srv/hub
Environment=PYTHONPATH=/opt/hubstack AWS_DEFAULT_REGION=$REGION SECRET=$SECRET
Environment=LAUNCH_TEMPLATE=$LAUNCH_TEMPLATE SUBNETS=$SUBNETS
TimeoutStartSec=900
ExecStartPre=+/bin/bash /opt/hubstack/runtime/mount_disk.sh /srv/hub hub:hub $DATA_DEVICES
ExecStartPre=+/bin/chown -R hub:hub /srv/hub
ExecStartPre=+/opt/hubstack/venv/bin/python -m runtime.ec2_spawner.fetch_secrets
ExecStart=/opt/hubstack/venv/bin/jupyterhub --config /opt/hubstack/runtime/ec2_spawner/jupyterhub_config.py
Restart=always
RestartSec=5
[Install]
WantedBy=multi-user.target
UNIT
cat >/etc/systemd/system/hubstack-pack.service <<'UNIT'
[Unit]
Description=Pack what workers run
[Service]
Type=oneshot
RemainAfterExit=yes
Environment=PYTHONPATH=/opt/hubstack
ExecStart=/usr/bin/python3 -m runtime.ec2_spawner.pack
Restart=on-failure
RestartSec=15
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
RestartSec=5
[Install]
WantedBy=multi-user.target
UNIT
# CERTIFICATES is `acme`, for certificates of Let's Encrypt, or `internal`, for those of an authority on this host.
tls=""
[ "$CERTIFICATES" = acme ] || tls="tls internal"
cat >/etc/caddy/Caddyfile <<CADDY
{
	admin off
	skip_install_trust
}
$DOMAIN {
	$tls
	reverse_proxy 127.0.0.1:8000
	header Strict-Transport-Security "max-age=31536000"
}
CADDY
mkdir -p /srv/bundles
systemctl daemon-reload
systemctl enable hubstack-proxy hubstack-hub hubstack-pack hubstack-bundles caddy
# The disk may not be attached yet, and packing takes a minute: nothing here waits for either.
systemctl restart --no-block hubstack-pack hubstack-hub
systemctl restart hubstack-proxy hubstack-bundles caddy
