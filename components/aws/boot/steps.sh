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
