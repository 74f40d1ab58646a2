#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Usage: testpmd.sh PLUGIN: Debian's own dpdk-testpmd with the plugin, one TAP line per test.
#
# Needs no root and no hugepages; with 128 free 2M hugepages memory that comes and goes is
# tested too. "# N passed, N failed, N skipped" comes last.
# shellcheck source-path=SCRIPTDIR
set -uo pipefail
. "$(dirname "$0")/../tap.sh"

plugin=$1
name=testpmd-$$
work=$(mktemp -d)
some=500   # packets that show that they pass
on_way=256 # at most, in rings and on the wire when the counters are read

cleanup() {
	end_jobs
	forget_eals "$name-*"
	rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 1' INT TERM

# So many packets have come in on each port of a testpmd that writes this log.
received() { # received LOG PACKETS PORTS
	awk -v want="$2" -v ports="$3" '
		/NIC statistics for port/ { port = $6 }
		/RX-packets:/ && $2 >= want { seen[port] = 1 }
		END { exit length(seen) < ports }' "$1" 2>/dev/null
}

# Wait until each port has received so many packets, or until a file is there; a minute at most.
hold() { # hold LOG PACKETS|FILE PORTS PID
	for _ in $(seq 600); do
		case $2 in
		/*) [ ! -e "$2" ] || break ;;
		*) ! received "$1" "$2" "$3" || break ;;
		esac
		kill -0 "$4" 2>/dev/null || break
		sleep 0.1
	done
}

# Run testpmd, as long as hold says; where EAL-ARGs end, its own begin.
testpmd() { # testpmd LOG PACKETS|FILE EAL-ARG... -- ARG...
	local log=$1 how_long=$2 eal=() ports=0 pid
	shift 2
	while [ "$1" != -- ]; do
		[ "$1" != --vdev ] || ports=$((ports + 1))
		eal+=("$1")
		shift
	done
	shift
	timeout -k 5 90 stdbuf -oL dpdk-testpmd -d "$plugin" --no-pci --no-telemetry \
		--iova-mode=va -l 0,1 --file-prefix="$name-$RANDOM" "${eal[@]}" -- \
		--total-num-mbufs=4096 --stats-period=1 "$@" >"$log" 2>&1 </dev/null &
	pid=$!
	hold "$log" "$how_long" "$ports" "$pid"
	kill "$pid" 2>/dev/null
	wait "$pid"
}

static=(--no-huge --no-shconf -m 256)

# Packets of port N that testpmd counted at the end: packets LOG N RX-total|TX-total
packets() {
	awk -v port="$2" -v what="$3:" '
		/Forward statistics for port/ { here = $6 == port }
		/Accumulated/ { here = 0 }
		here { for (i = 1; i < NF; i++) if ($i == what) print $(i + 1) }' "$1"
}

# What one port sent the other received, but for what was on its way: the NICs go on
# sending and counting while testpmd, whose cores have stopped, reads one port after the other.
passed_on() { # passed_on SENT RECEIVED
	[ $(($1 - $2)) -ge -$on_way ] && [ $(($1 - $2)) -le $on_way ]
}

loop_forwards() {
	local log=$work/loop rx tx
	testpmd "$log" $some "${static[@]}" --vdev net_wherry0,wire=loop -- --forward-mode=io --tx-first
	rx=$(packets "$log" 0 RX-total) tx=$(packets "$log" 0 TX-total)
	[ -n "$rx" ] && [ "$rx" -ge $some ] && passed_on "$tx" "$rx"
	result $? "testpmd forwards over wire=loop (${rx-0} packets)" "$log"
}

# Flows are made, spread over four queues by the device, received and freed.
several_queues() {
	local log=$work/queues busy
	testpmd "$log" 2000 "${static[@]}" --vdev net_wherry0,wire=loop,queues=4 -- \
		--forward-mode=flowgen --rxq=4 --txq=4 --rxd=256 --txd=256 --rss-udp
	busy=$(grep -cE 'Forward Stats for RX Port= 0/Queue= [0-3] ' "$log")
	[ "$busy" -eq 4 ] && [ "$(packets "$log" 0 RX-total)" -ge $some ]
	result $? "testpmd receives flows on $busy of 4 queues" "$log"
}

pair_in_one_process() {
	local log=$work/pair rx0 rx1 tx0 tx1
	testpmd "$log" $some "${static[@]}" --vdev net_wherry0,wire=pair=$name --vdev net_wherry1,wire=pair=$name \
		-- --forward-mode=io --tx-first
	rx0=$(packets "$log" 0 RX-total) tx0=$(packets "$log" 0 TX-total)
	rx1=$(packets "$log" 1 RX-total) tx1=$(packets "$log" 1 TX-total)
	[ -n "$rx0" ] && [ "$rx0" -ge $some ] && [ "$rx1" -ge $some ] &&
		passed_on "$tx0" "$rx1" && passed_on "$tx1" "$rx0"
	result $? "testpmd forwards between two ports over wire=pair ($rx0 and $rx1 packets)" "$log"
}

# One process mirrors what the other has sent; both count.
pair_between_two_processes() {
	local a=$work/a b=$work/b peer tx_a rx_a rx_b
	testpmd "$b" "$work/enough" "${static[@]}" --vdev net_wherry0,wire=pair=$name -- --forward-mode=io &
	peer=$!
	for _ in $(seq 600); do # frames sent before it listens are lost, as on any wire
		! grep -qs 'NIC statistics' "$b" || break
		sleep 0.1
	done
	testpmd "$a" $some "${static[@]}" --vdev net_wherry0,wire=pair=$name -- --forward-mode=io --tx-first
	touch "$work/enough"
	wait "$peer"
	tx_a=$(packets "$a" 0 TX-total) rx_a=$(packets "$a" 0 RX-total) rx_b=$(packets "$b" 0 RX-total)
	[ -n "$rx_a" ] && [ "$rx_a" -ge $some ] && [ "$rx_b" -ge $some ] &&
		passed_on "$tx_a" "$rx_b"
	result $? "two testpmds forward to each other over wire=pair ($rx_a packets)" "$a"
}

external_buffers() {
	local log=$work/xbuf rx
	testpmd "$log" $some "${static[@]}" --vdev net_wherry0,wire=loop -- \
		--forward-mode=io --tx-first --mp-alloc=xbuf
	rx=$(packets "$log" 0 RX-total)
	[ -n "$rx" ] && [ "$rx" -ge $some ]
	result $? "testpmd forwards with external packet buffers (${rx-0} packets)" "$log"
}

hugepages() {
	local log=$work/huge rx free
	free=$(cat /sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages 2>/dev/null || echo 0)
	if [ "$free" -lt 128 ]; then
		skip "testpmd forwards with hugepages" "$free of 128 hugepages are free: echo 128 >/proc/sys/vm/nr_hugepages"
		skip "testpmd forwards with a heap of its own" "as above"
		skip "wherry-test-net with hugepages" "as above"
		return
	fi
	testpmd "$log" $some --in-memory -m 128 --vdev net_wherry0,wire=loop -- --forward-mode=io --tx-first
	rx=$(packets "$log" 0 RX-total)
	[ -n "$rx" ] && [ "$rx" -ge $some ]
	result $? "testpmd forwards with hugepages (${rx-0} packets)" "$log"
	testpmd "$log" $some --in-memory -m 128 --vdev net_wherry0,wire=loop -- --forward-mode=io --tx-first --mp-alloc=xmem
	rx=$(packets "$log" 0 RX-total)
	[ -n "$rx" ] && [ "$rx" -ge $some ]
	result $? "testpmd forwards with a heap of its own (${rx-0} packets)" "$log"
	WHERRY_TEST_EAL="--in-memory -m 64" "$(dirname "$plugin")/../../../app/test/net/wherry-test-net" \
		>"$log" 2>&1
	result $? "wherry-test-net with hugepages" "$log"
}

# The plugin meets a DPDK that says it is another release.
other_release_is_refused() {
	local log=$work/release
	echo 'const char *rte_version(void); const char *rte_version(void) { return "DPDK 99.11.0"; }' >"$work/version.c"
	if ! cc -shared -fPIC -o "$work/version.so" "$work/version.c" 2>"$log"; then
		skip "a plugin of another release is refused" "no compiler"
		return
	fi
	env LD_PRELOAD="$work/version.so" timeout 30 dpdk-testpmd -d "$plugin" --no-pci --no-telemetry \
		"${static[@]}" --file-prefix="$name-version" --vdev net_wherry0 -- </dev/null >"$log" 2>&1
	grep -q 'net_wherry: not loaded: built for DPDK .*, this is DPDK 99.11.0' "$log" &&
		! grep -q 'Port 0 is closed' "$log"
	result $? "a plugin of another release is refused with a message" "$log"
}

plan_begin
loop_forwards
several_queues
pair_in_one_process
pair_between_two_processes
external_buffers
other_release_is_refused
hugepages
plan_end
