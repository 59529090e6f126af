#!/bin/bash
readonly BUNDLES=http://10.10.0.10:8888
readonly CPU_PERCENT=100
readonly ENVIRONMENT=SE9NRT0iL2hvbWUvam92eWFuIgpKUFlfQVBJX1RPS0VOPSJ0aGUtc2VydmVycy10b2tlbiIKSlVQWVRFUkhVQl9BQ1RJVklUWV9JTlRFUlZBTD0iNjAiCkpVUFlURVJIVUJfQUNUSVZJVFlfVVJMPSJodHRwOi8vMTAuMTAuMC4xMDo4MDgxL2h1Yi9hcGkvdXNlcnMvYWRhL2FjdGl2aXR5IgpKVVBZVEVSSFVCX0FQSV9UT0tFTj0idGhlLXNlcnZlcnMtdG9rZW4iCkpVUFlURVJIVUJfQVBJX1VSTD0iaHR0cDovLzEwLjEwLjAuMTA6ODA4MS9odWIvYXBpIgpKVVBZVEVSSFVCX0JBU0VfVVJMPSIvIgpKVVBZVEVSSFVCX0NMSUVOVF9JRD0ianVweXRlcmh1Yi11c2VyLWFkYSIKSlVQWVRFUkhVQl9DT09LSUVfSE9TVF9QUkVGSVhfRU5BQkxFRD0iMCIKSlVQWVRFUkhVQl9ERUZBVUxUX1VSTD0iL2xhYiIKSlVQWVRFUkhVQl9IT1NUPSIiCkpVUFlURVJIVUJfT0FVVEhfQUNDRVNTX1NDT1BFUz0iW1wiYWNjZXNzOnNlcnZlcnMhc2VydmVyPWFkYS9cIiwgXCJhY2Nlc3M6c2VydmVycyF1c2VyPWFkYVwiXSIKSlVQWVRFUkhVQl9PQVVUSF9DQUxMQkFDS19VUkw9Ii91c2VyL2FkYS9vYXV0aF9jYWxsYmFjayIKSlVQWVRFUkhVQl9PQVVUSF9DTElFTlRfQUxMT1dFRF9TQ09QRVM9IltdIgpKVVBZVEVSSFVCX09BVVRIX1NDT1BFUz0iW1wiYWNjZXNzOnNlcnZlcnMhc2VydmVyPWFkYS9cIiwgXCJhY2Nlc3M6c2VydmVycyF1c2VyPWFkYVwiXSIKSlVQWVRFUkhVQl9QVUJMSUNfSFVCX1VSTD0iIgpKVVBZVEVSSFVCX1BVQkxJQ19VUkw9IiIKSlVQWVRFUkhVQl9TRVJWRVJfTkFNRT0iIgpKVVBZVEVSSFVCX1NFUlZJQ0VfUFJFRklYPSIvdXNlci9hZGEvIgpKVVBZVEVSSFVCX1NFUlZJQ0VfVVJMPSJodHRwOi8vMC4wLjAuMDo4ODg4L3VzZXIvYWRhLyIKSlVQWVRFUkhVQl9VU0VSPSJhZGEiClBBVEg9Ii9vcHQvdmVudi9iaW46L3Vzci9sb2NhbC9iaW46L3Vzci9iaW46L2JpbiI=
readonly HOME_DEVICE=/dev/nvme1n1
readonly LOCK_SHA256=0000000000000000000000000000000000000000000000000000000000000000
readonly MEMORY=1073741824
readonly PROCESSES=256
readonly TMP_BYTES=268435456
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
