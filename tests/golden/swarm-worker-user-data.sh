#!/bin/bash
readonly BUNDLE=s3://lab-bundle-bucket/swarm.tar.gz
readonly FILE_SYSTEM=lab-files.example.aws
readonly NODE='{"founder": false, "group": "lab-workers", "hub_secret": "", "invitations": {"worker": "arn:aws:service:us-east-1:123456789012:lab-worker-invitation"}, "lifecycle_hook": "lab-leave", "role": "worker", "stack": "lab"}'
readonly REGION=us-east-1
readonly REGISTRY_CONFIG='{"credHelpers": {"123456789012.dkr.ecr.us-east-1.amazonaws.com": "ecr-login"}}'
readonly SESSION_MANAGER=yes
# Steps that the boot scripts share; they stand in front of each, below its values.

# A host starts before the way out of its network is there, and the rights of its role take seconds to spread.
patiently() {
    local deadline=$((SECONDS + 600))
    until "$@"; do
        [ "$SECONDS" -lt "$deadline" ] || return 1
        sleep 5
    done
}
# Debian's own updates may hold the lock for a while.
apt() {
    patiently apt-get -q -o APT::Update::Error-Mode=any -o Acquire::http::Timeout=20 -o DPkg::Lock::Timeout=300 "$@"
}
# Shell access, and what the stack asks of a host, are Session Manager's alone: there is no key and no open port 22.
install_session_manager() {
    patiently curl -fsSL -o /tmp/ssm.deb \
        "https://s3.$REGION.amazonaws.com/amazon-ssm-$REGION/latest/debian_amd64/amazon-ssm-agent.deb"
    apt install -y /tmp/ssm.deb
}
# Beside the hop limit of the metadata service, which ends at the host, nothing of a container may ask for it.
close_metadata_service() {
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
    systemctl daemon-reload
    systemctl enable --now docker hubstack-filter
}

# A host of the Swarm: the engine, the shared file system, and a program that does again and again what lacks.
# Above stand the values and the shared steps.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive AWS_DEFAULT_REGION="$REGION"
exec > >(tee -a /var/log/hubstack-boot.log) 2>&1

# Before the engine starts for the first time.
mkdir -p /etc/docker /etc/hubstack /etc/stunnel /root/.docker /srv/hubstack
cat >/etc/docker/daemon.json <<'JSON'
{
  "icc": false,
  "userland-proxy": false,
  "log-driver": "local",
  "log-opts": {"max-size": "10m", "max-file": "3"},
  "default-address-pools": [{"base": "172.20.0.0/16", "size": 24}]
}
JSON
printf '%s' "$REGISTRY_CONFIG" >/root/.docker/config.json
printf '%s' "$NODE" >/etc/hubstack/node.json

apt update
apt install -y --no-install-recommends \
    amazon-ecr-credential-helper awscli ca-certificates curl docker.io iptables nfs-common python3-boto3 \
    python3-docker stunnel4

if [ "$SESSION_MANAGER" = yes ]; then install_session_manager; fi
close_metadata_service

# NFS inside TLS, as the file system's policy demands.
if [ -n "$FILE_SYSTEM" ]; then
    cat >/etc/stunnel/efs.conf <<CONF
[efs]
client = yes
accept = 127.0.0.1:20049
connect = $FILE_SYSTEM:2049
verifyChain = yes
checkHost = $FILE_SYSTEM
CAfile = /etc/ssl/certs/ca-certificates.crt
CONF
    grep -q ' /srv/hubstack ' /etc/fstab || echo "127.0.0.1:/ /srv/hubstack nfs4" \
        "nfsvers=4.1,port=20049,hard,timeo=600,retrans=2,noresvport,_netdev,x-systemd.requires=stunnel@efs.service" \
        "0 0" >>/etc/fstab
    systemctl daemon-reload
    systemctl enable --now stunnel@efs
    for _ in $(seq 60); do mountpoint -q /srv/hubstack && break; mount /srv/hubstack || sleep 5; done
    mountpoint -q /srv/hubstack
fi

# Containers of the platform's services do not talk to each other by the way out that all of them share.
docker network inspect docker_gwbridge >/dev/null 2>&1 || docker network create \
    --opt com.docker.network.bridge.name=docker_gwbridge --opt com.docker.network.bridge.enable_icc=false docker_gwbridge

cat >/usr/local/sbin/hubstack-node <<SCRIPT
#!/bin/bash
# Fetch what the stack runs and do what lacks.
set -euo pipefail
export AWS_DEFAULT_REGION="$REGION" HOME=/root
umask 077
mkdir -p /run/hubstack/state
aws s3 cp --only-show-errors "$BUNDLE" /run/hubstack/bundle.tar.gz
rm -rf /run/hubstack/current
mkdir /run/hubstack/current
tar -xzf /run/hubstack/bundle.tar.gz -C /run/hubstack/current --no-same-owner
cd /run/hubstack/current
exec /usr/bin/python3 -m runtime.swarm_node /etc/hubstack/node.json /run/hubstack/current /run/hubstack/state
SCRIPT
chmod 755 /usr/local/sbin/hubstack-node
cat >/etc/systemd/system/hubstack-node.service <<'UNIT'
[Unit]
Description=One round of the Swarm's host
After=docker.service network-online.target
Requires=docker.service
RequiresMountsFor=/srv/hubstack
[Service]
Type=oneshot
TimeoutStartSec=900
ExecStart=/usr/local/sbin/hubstack-node
UNIT
cat >/etc/systemd/system/hubstack-node.timer <<'UNIT'
[Unit]
Description=Rounds of the Swarm's host
[Timer]
OnActiveSec=1
OnUnitInactiveSec=20
AccuracySec=1
[Install]
WantedBy=timers.target
UNIT
systemctl daemon-reload
systemctl enable --now hubstack-node.timer
