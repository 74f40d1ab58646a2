#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Usage: testpmd_migration.sh BUILD: examples/testpmd-migration between two ports of net_wherry
#
# A third testpmd sends frames that differ. The source forwards them untouched, and the device half
# of net_wherry writes behind the CPU's back: the shadow can only be right if the IOMMU's bits said
# what was written. TAP, a summary last.
# shellcheck source-path=SCRIPTDIR
set -uo pipefail
. "$(dirname "$0")/../tap.sh"
build=$1
work=$(mktemp -d)
cleanup() {
	end_jobs
	forget_eals "g-$$"
	rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 1' INT TERM

# One end of two cables: to the source and to the destination.
generate() {
	mkfifo "$work/in"
	timeout 280 dpdk-testpmd -l 0,1 -n 1 --file-prefix="g-$$" --no-shconf --no-huge -m 128 --no-pci \
		--no-telemetry --iova-mode=va -d "$build/drivers/net/emu/librte_net_wherry.so" \
		--vdev "net_wherry0,wire=pair=a-$$" --vdev "net_wherry1,wire=pair=b-$$" -- -i \
		--forward-mode=flowgen --total-num-mbufs=4096 <"$work/in" >"$work/generator.log" 2>&1 &
	exec 9>"$work/in"
	echo start >&9
}

migrates() {
	timeout 250 "$(dirname "$0")/../../../examples/testpmd-migration/run.sh" "$build" \
		"net_wherry0,wire=pair=a-$$" "net_wherry0,wire=pair=b-$$" "$work" >"$work/out" 2>&1 &&
		grep -qE 'shadow: [1-9][0-9]* pages compared, .*, 0 differ' "$work/out"
}

# More than the last number the source gave: the destination counts on, from there.
counts_on() {
	local before after
	before=$(grep -oE '"rx_packets": [0-9]+' "$work/before.log" | tail -n 1 | grep -oE '[0-9]+$')
	after=$(grep -oE '"rx_packets": [0-9]+' "$work/ports.log" | tail -n 1 | grep -oE '[0-9]+$')
	[ -n "$before" ] && [ -n "$after" ] && [ "$before" -gt 0 ] && [ "$after" -gt "$before" ]
}

plan_begin
generate
migrates
result $? "testpmd migrates and its shadow equals its memory" "$work/out" "$work"/*.log
grep -E '^(shadow|completed)' "$work/out" | sed 's/^/# /'
counts_on
result $? "statistics go on where the source's ended" "$work/out" "$work"/*.log
plan_end
