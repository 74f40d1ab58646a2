#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Machines: vtd-ad
# Options: --nic igb+e1000e+e1000e
# Usage: testpmd_migration.sh BUILD: examples/testpmd-migration between two real PMDs' NICs
#
# Three NICs on one hub: the first sends and counts (the kernel's driver), the second is the
# source's, the third the destination's. The NIC's writes are known by the IOMMU's dirty bits alone.
# One TAP line per test, a summary last.
# shellcheck source-path=SCRIPTDIR
set -uo pipefail
. "$(dirname "$0")/../tap.sh"
. "$(dirname "$0")/pmds.sh"

build=$1
here=$(cd "$(dirname "$0")/../../.." && pwd)/examples/testpmd-migration
[ -d "$here" ] || here=$PWD/examples/testpmd-migration
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The kernel's driver gets the first NIC back; its interface's name.
give_to_kernel() { # give_to_kernel ADDRESS
	local device=/sys/bus/pci/devices/$1
	echo "$1" >"$device/driver/unbind"
	echo >"$device/driver_override"
	echo "$1" >/sys/bus/pci/drivers_probe
	for _ in $(seq 100); do
		[ ! -d "$device/net" ] || break
		sleep 0.1
	done
	basename "$device"/net/*
}

# Frames go to the source's address all the time, and are looked for when they come back.
migrates() {
	local interface sender
	interface=$(give_to_kernel "${nics[0]}")
	ip link set "$interface" promisc on up
	"$here/traffic.py" "$interface" ff:ff:ff:ff:ff:ff 100000 >"$work/traffic.out" 2>"$work/traffic.log" &
	sender=$!
	WHERRY_SETTLE=10 WHERRY_AFTER=10 WHERRY_DOWNTIME=20000 WHERRY_MEM=40 WHERRY_MBUFS=1600 timeout 500 "$here/run.sh" "$build" \
		"${nics[1]}" "${nics[2]}" "$work" >"$work/out" 2>&1
	local status=$?
	kill "$sender"
	wait "$sender"
	return "$status"
}

number() { grep -oE "$1 [0-9]+" "$2" | tail -n 1 | grep -oE '[0-9]+$'; }

plan_begin
if [ ${#nics[@]} -lt 3 ]; then
	skip "testpmd migrates" "no three NICs: devtools/vm/run vtd-ad --nic igb+e1000e+e1000e -- $0 $1"
else
	mkdir -p /run/dpdk /run/wherry
	migrates
	result $? "testpmd migrates from one NIC to another under traffic" "$work/out" "$work"/*.log
	grep -qE 'shadow: [1-9][0-9]* pages compared, .*, 0 differ' "$work/out"
	result $? "the shadow equals the source's memory" "$work/out"
	grep -aq 'device writes: tracked' "$work/a.log"
	result $? "device writes were known by dirty bits"
	[ "$(number echoed "$work/traffic.out")" -gt 100 ] && [ "$(number after "$work/traffic.out")" -gt 0 ] &&
		[ "$(number damaged "$work/traffic.out")" -eq 0 ]
	result $? "frames come back, unharmed, before and after ($(cat "$work/traffic.out"))"
	grep -E '^(round|completed|shadow|\{)' "$work/out" | sed 's/^/# /'
fi
plan_end
