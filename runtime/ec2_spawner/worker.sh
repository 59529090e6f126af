#!/bin/bash
# A user's host: one JupyterLab, as a user without rights. Above stand the values.
#
# It reaches the manager and nothing else, so it installs only what the manager has packed for it, with what Debian's
# machine image brings.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive
exec > >(tee -a /var/log/hubstack-boot.log) 2>&1

id jovyan >/dev/null 2>&1 || useradd --uid 1000 --gid 100 --home /home/jovyan --shell /bin/bash jovyan

if [ ! -x /opt/venv/bin/jupyterhub-singleuser ]; then
    python3 - "$BUNDLE" "$BUNDLE_SHA256" /var/tmp/notebook.tar.gz <<'FETCH'
import hashlib, http.client, pathlib, sys, time, urllib.request

address, expected, target = sys.argv[1:]
for tries_left in reversed(range(60)):
    told = "it is not what the manager packed"
    digest = hashlib.sha256()
    try:
        with urllib.request.urlopen(address, timeout=30) as answer, pathlib.Path(target).open("wb") as file:
            while block := answer.read(1 << 20):
                digest.update(block)
                file.write(block)
    except (OSError, http.client.HTTPException) as error:
        told = error
    if digest.hexdigest() == expected:
        break
    print(f"{address}: {told}; {tries_left} tries left", flush=True)
    time.sleep(5)
else:
    sys.exit(f"cannot fetch {address}")
FETCH
    tar -xzf /var/tmp/notebook.tar.gz -C / --no-same-owner
    rm /var/tmp/notebook.tar.gz
    # git and what it needs. Debian's own updates may hold the lock for a while; without git everything else works.
    for _ in $(seq 12); do
        compgen -G '/var/cache/hubstack/packages/*.deb' >/dev/null || break
        dpkg --install /var/cache/hubstack/packages/*.deb && break
        sleep 10
    done
fi

printf '%s' "$MOUNT_DISK" >/usr/local/sbin/hubstack-mount-disk
cat >/etc/systemd/system/hubstack-home.service <<UNIT
[Unit]
Description=The user's home, a disk that outlives the host
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/bash /usr/local/sbin/hubstack-mount-disk /home/jovyan jovyan:users $HOME_DEVICES
UNIT
# The metadata service holds this script, and the VPC's resolver answers at its side: both are closed to people, and
# the time service stays open to the host's own. The rule is marked as the kernel's, or systemd-networkd would drop it.
readonly PEOPLE="uidrange 1000-4294967294"
rules="ExecStart=/usr/sbin/ip rule add priority 100 to 169.254.0.0/16 $PEOPLE prohibit protocol kernel"
if [ "$EGRESS_PROFILE" = closed ]; then
    # The VPC's resolver is beyond security groups, and a name can carry what must not leave: people get to the manager
    # alone, and the host, which needs no names from here on, stops asking for them on their behalf.
    systemctl disable --now systemd-resolved 2>/dev/null || true
    rules="ExecStart=/usr/sbin/ip rule add priority 99 to $MANAGER $PEOPLE lookup main protocol kernel
$rules
ExecStart=/usr/sbin/ip rule add priority 101 $PEOPLE prohibit protocol kernel"
fi
cat >/etc/systemd/system/hubstack-closed.service <<UNIT
[Unit]
Description=Close to users what they must not reach
[Service]
Type=oneshot
RemainAfterExit=yes
$rules
ExecStop=-/usr/sbin/ip rule del priority 99
ExecStop=/usr/sbin/ip rule del priority 100
ExecStop=-/usr/sbin/ip rule del priority 101
UNIT
umask 077
printf '%s' "$ENVIRONMENT" | base64 --decode >/etc/hubstack-notebook.env
umask 022
cat >/etc/systemd/system/hubstack-notebook.service <<UNIT
[Unit]
Description=Single-user server
Wants=network-online.target
Requires=hubstack-home.service hubstack-closed.service
After=hubstack-home.service hubstack-closed.service network-online.target
StartLimitIntervalSec=0
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
CapabilityBoundingSet=
ProtectSystem=strict
ReadWritePaths=/home/jovyan
TemporaryFileSystem=/tmp:size=$TMP_BYTES,mode=1777,nosuid,nodev
Restart=on-failure
RestartSec=5
[Install]
WantedBy=multi-user.target
UNIT
systemctl daemon-reload
systemctl enable hubstack-notebook
systemctl restart --no-block hubstack-notebook
