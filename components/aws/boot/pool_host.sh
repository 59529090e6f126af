#!/bin/bash
# A host of a pool of temporary notebooks: the engine, and a program that looks after its containers. Above stand the values and the shared steps.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive AWS_DEFAULT_REGION="$REGION"
exec > >(tee -a /var/log/hubstack-boot.log) 2>&1

# Before the engine starts for the first time. Servers outlive an engine that starts anew, as after an update of Debian's.
mkdir -p /etc/docker /etc/hubstack
echo '{"icc": false, "live-restore": true, "log-driver": "local", "log-opts": {"max-size": "10m", "max-file": "3"}}' >/etc/docker/daemon.json
printf '%s' "$HOST" >"$HOST_FILE"

apt update
apt install -y --no-install-recommends \
    amazon-ecr-credential-helper awscli ca-certificates curl docker.io iptables python3-boto3 python3-docker

if [ "$SESSION_MANAGER" = yes ]; then install_session_manager; fi
close_metadata_service

# The program ends when there is another bundle or secret, and is fetched anew. Containers outlive it. After a reboot the
# engine starts them by itself, but for what visitors reach, which the program starts when it has proved the rest. What it
# must know of secrets it reads itself: none is on the disk but in the engine's volumes.
cat >/usr/local/sbin/hubstack-host <<SCRIPT
#!/bin/bash
# Fetch what this host runs and look after it.
set -euo pipefail
export AWS_DEFAULT_REGION="$REGION" HOME=/root
umask 077
mkdir -p /run/hubstack /root/.docker
cd /run/hubstack
rm -rf next
mkdir next
aws \${AWS_ENDPOINT_URL:+--endpoint-url "\$AWS_ENDPOINT_URL"} s3api get-object \
    --bucket "$BUCKET" --key "$KEY" bundle.tar.gz >next/fetched.json
tar -xzf bundle.tar.gz -C next --no-same-owner
cp next/$REGISTRY_FILE /root/.docker/config.json
rm -rf current
mv next current
cd current
exec /usr/bin/python3 -m runtime.pool_host keep "$HOST_FILE" /run/hubstack/current
SCRIPT
cat >/usr/local/sbin/hubstack-leave <<SCRIPT
#!/bin/bash
# Let users finish, then remove everything that this host runs; returns when that is done.
exec systemctl start hubstack-leave
SCRIPT
chmod 755 /usr/local/sbin/hubstack-host /usr/local/sbin/hubstack-leave
cat >/etc/systemd/system/hubstack-host.service <<'UNIT'
[Unit]
Description=What the pool runs on this host
Wants=network-online.target
After=docker.service network-online.target
Requires=docker.service
StartLimitIntervalSec=0
[Service]
ExecStart=/usr/local/sbin/hubstack-host
Restart=always
RestartSec=3
[Install]
WantedBy=multi-user.target
UNIT
# Each ends the other. A host that has left, and is still there a while later, was not taken away after all: it comes back.
cat >/etc/systemd/system/hubstack-leave.service <<UNIT
[Unit]
Description=The host's end
After=docker.service
Conflicts=hubstack-host.service
[Service]
Type=oneshot
TimeoutStartSec=infinity
Environment=HOME=/root
WorkingDirectory=-/run/hubstack/current
# One that has run out can be started again only after it was stopped; one that runs would end this.
ExecStartPre=-/usr/bin/systemctl stop hubstack-return.timer
ExecStart=/usr/bin/python3 -m runtime.pool_host leave "$HOST_FILE" /run/hubstack/current
ExecStopPost=-/usr/bin/systemctl start --no-block hubstack-return.timer
UNIT
cat >/etc/systemd/system/hubstack-return.timer <<'UNIT'
[Unit]
Description=The host's return if it is not taken away
[Timer]
OnActiveSec=15min
AccuracySec=1s
Unit=hubstack-host.service
UNIT
systemctl daemon-reload
systemctl enable --now --no-block hubstack-host
