#!/usr/bin/env bash
# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Writes the state of one host to its directory, the argument, and starts its SSH server with a separate /etc. It cannot
# shut down this machine, because the commands for that are simulated too.
set -euo pipefail
home=$1
files=$(dirname "$(readlink -f "$0")")
mkdir -p "$home"/{bin,units,proc/driver/nvidia,proc/sys/kernel/random}
printf '%s' "$MACHINE" >"$home/machine.json"
echo >"$home/log"
echo "$MODULES 1 2 - Live 0x0" >"$home/proc/modules"
echo before >"$home/proc/sys/kernel/random/boot_id"
if [ -n "$DRIVER" ]; then printf '%s' "$DRIVER" >"$home/proc/driver/nvidia/version"; fi
if [ -n "$PERSISTENCED" ]; then printf '%s' "$PERSISTENCED" >"$home/units/nvidia-persistenced"; fi
for command in apt-get apt-mark dpkg modprobe shutdown nvidia-smi nvidia-ctk systemctl; do
    printf '#!/bin/sh\nexec python3 "%s" %s "$@"\n' "$files/commands.py" "$command" >"$home/bin/$command"
    chmod 755 "$home/bin/$command"
done
cp -a /etc "$home/etc"
rm -f "$home/etc/os-release" "$home/etc/lsb-release" "$home/etc/debian_version" "$home/etc/docker/daemon.json"
printf '%s\n' "$OS_RELEASE" >"$home/etc/os-release"
if [[ $OS_RELEASE == *ID=debian* ]]; then echo 12.11 >"$home/etc/debian_version"; fi
if [ -n "$DOCKER_SETTINGS" ]; then
    mkdir -p "$home/etc/docker"
    printf '%s\n' "$DOCKER_SETTINGS" >"$home/etc/docker/daemon.json"
fi
cat >"$home.conf" <<EOF
ListenAddress $ADDRESS
Port $PORT
HostKey $(dirname "$home")/host_key
AuthorizedKeysFile $(dirname "$home")/client_key.pub
PidFile $home.pid
PermitRootLogin prohibit-password
UsePAM no
StrictModes no
Subsystem sftp internal-sftp
SetEnv FAKE_HOST=$home HOME=$home PATH=$home/bin:/usr/sbin:/usr/bin:/sbin:/bin PYTHONPATH=$files/python${PYTHONPATH:+:$PYTHONPATH} PYTHONDONTWRITEBYTECODE=1 PIP_NO_INDEX=1 PIP_FIND_LINKS=$(dirname "$home")/wheels
EOF
# shellcheck disable=SC2016 # expanded in the namespace
exec unshare --mount sh -euc '
    mount --bind "$1/etc" /etc
    for command in /usr/bin/systemctl /usr/sbin/shutdown /usr/sbin/reboot; do
        if [ -f "$command" ]; then mount --bind "$1/bin/systemctl" "$(readlink -f "$command")"; fi
    done
    exec "$2" -f "$1.conf"' sh "$home" "$SSHD"
