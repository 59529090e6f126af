#!/bin/bash
# Mount a data disk at a host's start: mount_disk.sh FOLDER OWNER DEVICE…, whichever device appears within ten minutes.
#
# A unit runs it instead of a line in fstab, because a disk may be attached long after the host has started.
set -euo pipefail
folder=$1 owner=$2
shift 2
mountpoint -q "$folder" && exit 0

found=""
for _ in $(seq 600); do
    for device in "$@"; do
        if [ -b "$device" ]; then
            found=$device
            break 2
        fi
    done
    sleep 1
done
[ -n "$found" ] || { echo "none of $* has appeared" >&2; exit 1; }

# A new volume reads as zeros. Anything else is somebody's data, and a disk that cannot be read is not blank.
if cmp -s -n 1048576 "$found" /dev/zero; then
    mkfs.ext4 -q -m 0 "$found"
fi
# 1: it was cut off and is repaired.
e2fsck -p "$found" || [ $? -eq 1 ]
mkdir -p "$folder"
mount -t ext4 -o nosuid,nodev "$found" "$folder"
chown "$owner" "$folder"
