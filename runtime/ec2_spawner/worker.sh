#!/bin/bash
# A user's host: one JupyterLab, as a user without rights. Above stand the values.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive
exec > >(tee -a /var/log/hubstack-boot.log) 2>&1

# The home outlives the host: a disk that is formatted only when it is blank.
for _ in $(seq 300); do [ -b "$HOME_DEVICE" ] && break; sleep 1; done
blkid "$HOME_DEVICE" >/dev/null || mkfs.ext4 -q -m 0 -L home "$HOME_DEVICE"
id jovyan >/dev/null 2>&1 || useradd --uid 1000 --gid 100 --home /home/jovyan --shell /bin/bash jovyan
mkdir -p /home/jovyan
grep -q LABEL=home /etc/fstab || echo "LABEL=home /home/jovyan ext4 defaults,nofail,nosuid,nodev 0 2" >>/etc/fstab
mountpoint -q /home/jovyan || mount /home/jovyan
chown jovyan:users /home/jovyan

if ! command -v jupyterhub-singleuser >/dev/null && [ ! -x /opt/venv/bin/jupyterhub-singleuser ]; then
    apt-get update -q
    apt-get install -qy --no-install-recommends curl git iptables python3-venv
    curl -fsS -o /tmp/notebook.lock "$BUNDLES/notebook.lock"
    echo "$LOCK_SHA256  /tmp/notebook.lock" | sha256sum --check --quiet
    python3 -m venv /opt/venv
    /opt/venv/bin/pip install --quiet --no-cache-dir --require-hashes -r /tmp/notebook.lock
fi

# The metadata service holds this script, and the VPC's resolver answers at its side: both are root's alone.
cat >/etc/systemd/system/hubstack-filter.service <<'UNIT'
[Unit]
Description=Close the metadata service to users
Before=hubstack-notebook.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/sbin/iptables -I OUTPUT -d 169.254.0.0/16 -m owner ! --uid-owner 0 -j REJECT
[Install]
WantedBy=multi-user.target
UNIT
umask 077
printf '%s' "$ENVIRONMENT" | base64 --decode >/etc/hubstack-notebook.env
umask 022
cat >/etc/systemd/system/hubstack-notebook.service <<UNIT
[Unit]
Description=Single-user server
Requires=hubstack-filter.service
After=hubstack-filter.service network-online.target
RequiresMountsFor=/home/jovyan
[Service]
User=jovyan
Group=users
WorkingDirectory=/home/jovyan
EnvironmentFile=/etc/hubstack-notebook.env
ExecStart=/opt/venv/bin/jupyterhub-singleuser
MemoryMax=$MEMORY
MemorySwapMax=0
CPUQuota=$CPU_PERCENT%
TasksMax=$PROCESSES
NoNewPrivileges=yes
TemporaryFileSystem=/tmp:size=$TMP_BYTES,mode=1777,nosuid,nodev
ProtectSystem=full
Restart=on-failure
[Install]
WantedBy=multi-user.target
UNIT
systemctl daemon-reload
systemctl enable hubstack-filter hubstack-notebook
systemctl restart hubstack-filter hubstack-notebook
