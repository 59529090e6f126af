#!/bin/bash
# A host of a pool of temporary notebooks: the engine, and a program that looks after its containers. Above stand the values.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive AWS_DEFAULT_REGION="$REGION"
exec > >(tee -a /var/log/hubstack-boot.log) 2>&1

# Before the engine starts for the first time. Servers outlive an engine that starts anew, as after an update of Debian's.
mkdir -p /etc/docker /etc/hubstack
echo '{"icc": false, "live-restore": true, "log-driver": "local", "log-opts": {"max-size": "10m", "max-file": "3"}}' >/etc/docker/daemon.json
printf '%s' "$HOST" >"$HOST_FILE"

# The host starts before it has its public address, and Debian's own updates may hold the lock for a while.
patiently() {
    local deadline=$((SECONDS + 600))
    until "$@"; do
        [ "$SECONDS" -lt "$deadline" ] || return 1
        sleep 5
    done
}
apt() {
    patiently apt-get -q -o APT::Update::Error-Mode=any -o Acquire::http::Timeout=20 -o DPkg::Lock::Timeout=300 "$@"
}
apt update
apt install -y --no-install-recommends \
    amazon-ecr-credential-helper awscli ca-certificates curl docker.io iptables python3-boto3 python3-docker

# Shell access, and the word that the host is about to go, are Session Manager's alone: no key, no open port 22.
if [ "$SESSION_MANAGER" = yes ]; then
    patiently curl -fsSL -o /tmp/ssm.deb \
        "https://s3.$REGION.amazonaws.com/amazon-ssm-$REGION/latest/debian_amd64/amazon-ssm-agent.deb"
    apt install -y /tmp/ssm.deb
fi

# Beside the hop limit of the metadata service, which ends at the host, nothing of a container may ask for it.
cat >/etc/systemd/system/hubstack-filter.service <<'UNIT'
[Unit]
Description=Close the metadata service to containers
After=docker.service
PartOf=docker.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/sbin/iptables -I DOCKER-USER -d 169.254.0.0/16 -j DROP
[Install]
WantedBy=docker.service
UNIT

# The program ends when there is another bundle or secret, and is fetched anew. Containers outlive it, and start by
# themselves after a reboot. What it must know of secrets it reads itself: none is on the disk but in the engine's volumes.
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
# Let users finish, then remove everything that this host runs.
set -euo pipefail
export HOME=/root
systemctl disable --now hubstack-host
cd /run/hubstack/current
exec /usr/bin/python3 -m runtime.pool_host leave "$HOST_FILE" /run/hubstack/current
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
systemctl daemon-reload
systemctl enable --now docker hubstack-filter
systemctl enable --now --no-block hubstack-host
