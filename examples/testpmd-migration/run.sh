#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Usage: run.sh BUILD SOURCE-NIC DESTINATION-NIC [FOLDER]
#
# Move an unmodified dpdk-testpmd from one NIC to another, under the traffic that is there. Both
# NICs are PCI addresses bound to vfio-pci and see the same wire; or, without any hardware,
# devices of net_wherry, as net_wherry0,wire=pair=NAME. What the source's NIC and CPU
# write goes to a shadow in the destination all the time; in the end the shadow is compared with
# the source's memory, page by page, by a program that knows nothing of Wherry. Then the
# destination forwards, with the source's MAC address and statistics. Logs stay in FOLDER.
# doc/howto/testpmd.rst says more. As root.
set -uo pipefail

build=$1 nic_a=$2 nic_b=$3 work=${4-$(mktemp -d)}
here=$(cd "$(dirname "$0")" && pwd)
wherry=$build/app/wherry/wherry
plugin=$build/examples/testpmd-migration/libwherry_testpmd.so
uri=unix:$work/b.uri
name_a=a-$$ name_b=b-$$
pids=()

die() {
	echo "run.sh: $*" >&2
	tail -n 20 "$work"/*.log >&2
	exit 1
}

# shellcheck disable=SC2329 # called by trap
cleanup() {
	exec 7>&- 8>&-
	# a source that was released keeps its cores parked, so it cannot end by itself
	for pid in "${pids[@]}"; do kill -KILL "$pid" 2>/dev/null; done
	wait
	# killed, it leaves what EAL and the agent had made; the names are this script's own
	rm -rf "/run/dpdk/$name_a" "/run/dpdk/$name_b"
	rm -f "/run/wherry/$name_a.sock" "/run/wherry/$name_b.sock"
}
trap cleanup EXIT
trap 'exit 1' INT TERM

# Wait for something in a log, ten minutes at most; no process per look, for test machines are slow.
saw() { # saw LOG PATTERN
	for _ in $(seq 600); do
		[[ ! -e $1 || ! $(<"$1") =~ $2 ]] || return 0
		sleep 1
	done
	return 1
}

pmds=$(echo /usr/lib/*/dpdk/pmds-*)
drivers=()
for name in bus_pci bus_vdev mempool_ring net_e1000 net_vmxnet3 net_virtio; do
	drivers+=(-d "$pmds/librte_$name.so")
done

# EAL's options for a NIC
device() { # device NIC
	case $1 in
	net_*) echo "-d $build/drivers/net/emu/librte_net_wherry.so --no-pci --vdev $1" ;;
	*) echo "-a $1" ;;
	esac
}

# 4 KiB pages, so that one written byte costs no hugepage; buffers apart from mbufs (xbuf), and
# frames that are not looked at (io), so that what a NIC writes is written by nobody else, and
# only the IOMMU's bits know of it. Each EAL has its own place.
testpmd() { # testpmd NAME NIC BASE SETTINGS <COMMANDS
	# shellcheck disable=SC2046 # options are words
	WHERRY_TESTPMD=name=$1$4 exec "$wherry" exec --quiet -- stdbuf -o0 dpdk-testpmd -l 0,1 -n 1 \
		--file-prefix="$1" --no-huge -m "${WHERRY_MEM-96}" --base-virtaddr="$3" --iova-mode=va \
		"${drivers[@]}" $(device "$2") -d "$plugin" -- -i --mp-alloc=xbuf \
		--forward-mode="${WHERRY_FORWARD-io}" --total-num-mbufs="${WHERRY_MBUFS-4096}" --rxd=512 --txd=512
}

# Where the source's memory lies: ",shadow=NAME@ADDRESS+LENGTH" each
shadows() {
	/usr/bin/python3 -c '
import json, sys
for line in sys.stdin:
    for r in json.loads(line).get("regions", []):
        print(",shadow=%s@%#x+%#x" % (r["name"], int(r["base"]), int(r["bytes"])), end="")'
}

mkfifo "$work/a.in" "$work/b.in"
testpmd "$name_a" "$nic_a" 0x100000000 '' <"$work/a.in" >"$work/a.log" 2>&1 &
pids+=($!) a=$!
exec 7>"$work/a.in"
saw "$work/a.log" "wherry: $name_a: runs" || die "the source does not start"
echo start >&7
where=$("$wherry" watch --app="$name_a" --json --count=1 | shadows)
[ -n "$where" ] || die "the source does not tell where its memory is"
echo "source: $nic_a, memory $(echo "$where" | tr , ' ')"

testpmd "$name_b" "$nic_b" 0x2000000000 ",incoming=$uri$where" <"$work/b.in" >"$work/b.log" 2>&1 &
pids+=($!) b=$!
exec 8>"$work/b.in"
saw "$work/b.log" 'Checking link statuses' || die "the destination does not start"
echo start >&8
for _ in $(seq 300); do # until it listens
	"$wherry" status --app="$name_b" --json 2>/dev/null | grep -q listen && break
	sleep 1
done
sleep "${WHERRY_SETTLE:-2}" # links are up, traffic passes

ports() { echo "/wherry/ports,$1" | dpdk-telemetry.py -f "$1" 2>&1; }
ports "$name_a" >"$work/before.log"
"$wherry" migrate --app="$name_a" --verify --downtime-limit="${WHERRY_DOWNTIME:-3000}" --timeout=60000 \
	--max-rounds=60 --log="$work/migrate.json" "$uri" || die "it did not migrate"
"$here/compare.py" "$a" "$b" "$where" || die "the shadow is not the source's memory"
saw "$work/b.log" "wherry: $name_b: runs" || die "the destination does not run"
sleep "${WHERRY_AFTER:-3}"
ports "$name_b" >"$work/ports.log"
echo 'show port stats all' >&8
sleep 1
grep -o '{"/wherry/ports.*' "$work/ports.log"
