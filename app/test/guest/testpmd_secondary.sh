#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Machines: vtd-ad
# Options: --nic igb-pair
# Usage: testpmd_secondary.sh BUILD: Debian's dpdk-testpmd, twice over the same NICs, under "wherry exec"
#
# A primary process has both ports on a cable, a secondary gets its descriptors from it; each polls two
# of the four queues of each port, and both forward at the same time. Packets of many flows are
# spread over all queues and circulate; what a process forwards was in queues that it alone polls.
# shellcheck source-path=SCRIPTDIR
set -uo pipefail
here=$(dirname "$0")
. "$here/../tap.sh"
. "$here/pmds.sh"

wherry=$1/app/wherry/wherry
dma_map=$1/app/test/guest/librte_test_dma_map.so
work=$(mktemp -d)
export DMA_MAP_WHEN=$work/map
some=500 # packets per queue that show that it is polled: emulation is slow
declare -A pids=() inputs=()

# shellcheck disable=SC2329 # called by trap
cleanup() {
	end_jobs
	rm -rf "$work"
}
trap cleanup EXIT

# Start a testpmd that reads orders; each process has one core that forwards.
launch() { # launch NAME PROC-ID EAL-ARG...
	local name=$1 id=$2 fd
	mkfifo "$work/$name.in"
	timeout 300 "$wherry" exec -- stdbuf -o0 dpdk-testpmd -n 1 --no-telemetry --iova-mode=va "${drivers[@]}" \
		-a "${nics[0]}" -a "${nics[1]}" "${@:3}" -- -i --num-procs=2 --proc-id="$id" --rxq=4 --txq=4 \
		--rxd=512 --txd=512 --total-num-mbufs=16384 --txonly-multi-flow --rss-udp \
		<"$work/$name.in" >"$work/$name" 2>&1 &
	pids[$name]=$!
	exec {fd}>"$work/$name.in"
	inputs[$name]=$fd
	saw "$work/$name" 'testpmd>' "${pids[$name]}"
}

order() { echo "$2" >&"${inputs[$1]}"; } # order NAME COMMAND

finish() { # finish NAME: its statistics are printed, it ends
	local fd=${inputs[$1]}
	order "$1" stop
	saw "$work/$1" 'Accumulated forward statistics' "${pids[$1]}"
	order "$1" quit
	exec {fd}>&-
	wait "${pids[$1]}"
}

# Packets that a process received from a queue of port 0, by the statistics of its streams.
received() { # received NAME QUEUE
	awk -v from="Port= 0/Queue=$2" '
		{ gsub(/Queue= +/, "Queue=") }
		/Forward Stats for RX/ { here = index($0, from " ") }
		here && /RX-packets/ { n = $2; here = 0 }
		END { print n + 0 }' "$work/$1"
}

polls() { # polls NAME QUEUE...
	local queue
	for queue in "${@:2}"; do [ "$(received "$1" "$queue")" -ge $some ] || return 1; done
}

both_forward() {
	local told
	mkfifo "$DMA_MAP_WHEN"
	launch primary 0 --lcores '0@0,1@1' && launch secondary 1 -d "$dma_map" --proc-type=secondary --lcores '0@1,1@0' || return 1
	order primary 'set fwd txonly'
	order primary start
	sleep 1
	order primary stop
	order primary 'set fwd io'
	order primary start
	order secondary start
	sleep 2
	exec {told}<>"$DMA_MAP_WHEN"
	saw "$work/secondary" 'dma_map: ' "${pids[secondary]}"
	exec {told}>&-
	finish secondary
	finish primary
}

plan_begin
if [ ${#nics[@]} -lt 2 ]; then
	skip "testpmd as a secondary process" "no two NICs: devtools/vm/run vtd-ad --nic igb-pair -- $0 $1"
else
	mkdir -p /run/dpdk
	both_forward
	result $? "a primary and a secondary testpmd forward at the same time" "$work/primary" "$work/secondary"
	[ "$(grep -c "vfio-shim: 0000:.*: the primary's descriptor" "$work/secondary")" -eq 2 ]
	result $? "the secondary has the primary's descriptors" "$work/secondary"
	polls primary 0 1
	result $? "the primary polls its queues ($(received primary 0), $(received primary 1) packets of port 0)" "$work/primary"
	polls secondary 2 3
	result $? "the secondary polls its queues ($(received secondary 2), $(received secondary 3) packets of port 0)" "$work/secondary"
	grep -q 'dma_map: Operation not supported' "$work/secondary" &&
		grep -q 'in a secondary process this is for the primary to do' "$work/secondary"
	result $? "rte_dev_dma_map() in a secondary is refused, and a line says so" "$work/secondary"
fi
plan_end
