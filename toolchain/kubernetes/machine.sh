#!/bin/sh
# The first process of the cluster's machine. It runs in namespaces of its own, which end with it: `unshare` made them.
# It gives itself a root that shows the system's programs read-only and nothing else of the host, then keeps the parts
# of Kubernetes running. $1: the cluster's folder; the others: folders with programs.
set -eu
cluster=$1
shift
root=$cluster/root
mount -t tmpfs -o mode=755 root "$root"
cd "$root"
mkdir proc sys dev cluster programs etc usr run tmp root opt var old
for folder in /bin /sbin /lib /lib32 /lib64 /libx32; do
    if [ -L "$folder" ]; then
        cp -P "$folder" ".$folder"
    elif [ -d "$folder" ]; then
        mkdir ".$folder"
        mount --rbind "$folder" ".$folder"
    fi
done
mount --rbind /dev dev
for folder in /usr /etc; do
    mount --rbind "$folder" ".$folder"
    mount -o remount,bind,ro ".$folder"
done
# Of this network, with the control groups of all.
mount -t proc proc proc
mount -t sysfs sysfs sys
mount --rbind /sys/fs/cgroup sys/fs/cgroup
mount --bind "$cluster" cluster
mount --bind "$cluster/var" var
mount --bind "$cluster/tmp" tmp
ln -s /run var/run
PATH=/usr/sbin:/usr/bin:/sbin:/bin
for folder in "$@"; do
    mkdir "programs/${folder##*/}"
    mount --bind "$folder" "programs/${folder##*/}"
    PATH=/programs/${folder##*/}:$PATH
done
export PATH
# The kubelet insists on these values, and the machine's are the host's own: it is shown what it wants to see.
mkdir cluster/tunables
tunable() {
    echo "$2" >"cluster/tunables/${1##*/}"
    if [ -e "proc/sys/$1" ]; then mount --bind "cluster/tunables/${1##*/}" "proc/sys/$1"; fi
}
tunable vm/overcommit_memory 1
tunable vm/panic_on_oom 0
tunable kernel/panic 10
tunable kernel/panic_on_oops 1
tunable kernel/keys/root_maxkeys 1000000
tunable kernel/keys/root_maxbytes 25000000
pivot_root . old
cd /
umount -l old
mount --make-rshared /

touch /cluster/rooted
until [ -e /cluster/connected ]; do sleep 0.1; done
for setting in ipv4/ip_forward ipv4/conf/all/forwarding ipv6/conf/all/forwarding; do echo 1 >"/proc/sys/net/$setting"; done
for tables in iptables ip6tables; do echo 1 >"/proc/sys/net/bridge/bridge-nf-call-$tables"; done

# Run a program again whenever it ends.
keep() {
    part=$1
    shift
    while :; do
        "$@" && code=0 || code=$?
        echo "$part ended with $code and starts again"
        sleep 1
    done >>"/cluster/log/$part" 2>&1 &
}

# The same, from when the API server answers.
keep_then() {
    part=$1
    shift
    (
        until [ -e /cluster/answers ]; do sleep 0.2; done
        keep "$part" "$@"
        wait
    ) &
}

# shellcheck source=/dev/null
. /cluster/etc/parts
wait
