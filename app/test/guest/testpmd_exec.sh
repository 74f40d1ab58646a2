#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Machines: vtd vtd-ad
# Options: --nic igb-pair --nic e1000e-pair --nic vmxnet3-pair --nic virtio-pair
# Usage: testpmd_exec.sh BUILD [TEST...]: Debian's own dpdk-testpmd under "wherry exec"
#
# In a test machine, with pairs of NICs on a cable, bound to vfio-pci, in $WHERRY_NICS. Packets
# circulate between the two ports of a pair; none may be dropped. TESTs of those below that do not
# depend on the PMD run on the first pair in place of this, see testpmd_memory.sh.
# shellcheck source-path=SCRIPTDIR
set -uo pipefail
here=$(dirname "$0")
. "$here/../tap.sh"
. "$here/pmds.sh"

wherry=$1/app/wherry/wherry
churn=$1/app/test/guest/librte_test_churn.so
stopcost=$1/app/test/guest/librte_test_stopcost.so
first='' second=''
work=$(mktemp -d)
some=2000 # packets that show that they pass: emulation is slow

# shellcheck disable=SC2329 # called by trap
cleanup() {
	end_jobs
	rm -rf "$work"
}
trap cleanup EXIT

# Forward in one testpmd for some seconds, or until a pattern is in the log.
forward() { # forward LOG SECONDS|PATTERN PREFIX... EAL EAL-ARG...
	local log=$1 how_long=$2 prefix=() in=$work/in
	shift 2
	while [ "$1" != EAL ]; do
		prefix+=("$1")
		shift
	done
	shift
	rm -f "$in"
	mkfifo "$in"
	timeout 900 "${prefix[@]}" stdbuf -o0 dpdk-testpmd -l 0,1 -n 1 --no-telemetry "${drivers[@]}" \
		-a "$first" -a "$second" "$@" -- -i --forward-mode=io --total-num-mbufs=8192 \
		--rxd=512 --txd=512 <"$in" >"$log" 2>&1 &
	local pid=$!
	exec 3>"$in"
	trap '' PIPE # it may end on its own, and its log then says why
	saw "$log" 'testpmd>' "$pid" || { kill "$pid"; exec 3>&-; return 1; }
	for _ in $(seq 120); do # a burst before the link is up is lost
		echo 'show port summary all' >&3 || break
		sleep 2
		[ "$(tail -n 4 "$log" | grep -cE ' up ')" -lt 2 ] || break
	done
	echo 'start tx_first' >&3
	case $how_long in
	[0-9]*) sleep "$how_long" ;;
	*) saw "$log" "$how_long" "$pid" ;;
	esac
	echo 'stop' >&3
	saw "$log" 'Accumulated forward statistics' "$pid"
	echo 'quit' >&3
	exec 3>&-
	wait "$pid"
}

# A number of the accumulated statistics: total LOG RX-packets|RX-dropped|TX-dropped
total() {
	awk -v what="$2:" '/Accumulated/ { here = 1 }
		here { for (i = 1; i < NF; i++) if ($i == what) { print $(i + 1); exit } }' "$1"
}

passes() { # passes LOG: packets passed, none was dropped
	local got
	got=$(total "$1" RX-packets)
	[ -n "$got" ] && [ "$got" -ge $some ] && [ "$(total "$1" RX-dropped)" -eq 0 ] &&
		[ "$(total "$1" TX-dropped)" -eq 0 ]
}

# Every device is on iommufd.
is_ours() { [ "$(grep -cE 'vfio-shim: 0000:.*: iommufd' "$1")" -eq 2 ]; }

# What drives the first port, by its name.
pmd() { sed -n 's/.*stopcost: \(net_[a-z0-9_]*\):.*/\1/p' "$1" | head -n 1; }

on_iommufd() {
	local log=$work/ours
	forward "$log" 'stopcost: done' "$wherry" exec EAL -d "$stopcost" --iova-mode=va
	passes "$log" && is_ours "$log"
	result $? "testpmd forwards on iommufd, $(pmd "$log") ($(total "$log" RX-packets) packets, 0 dropped)" "$log"
	sed -n 's/.*vfio-shim: 0000/# 0000/p' "$log" | sort -u
	sed -n 's/.*stopcost: /# stop: /p' "$log"
}

small_pages() {
	local log=$work/small
	forward "$log" 3 "$wherry" exec --quiet EAL --no-huge -m 256
	passes "$log" && is_ours "$log"
	result $? "testpmd forwards from 4 KiB pages ($(total "$log" RX-packets) packets, 0 dropped)" "$log"
}

# 200 MB come and go ten times while packets circulate: mapped and unmapped page by page.
memory_comes_and_goes() {
	local log=$work/churn
	forward "$log" 'churn: 10 times' "$wherry" exec --quiet EAL -d "$churn" --in-memory
	passes "$log" && is_ours "$log" && grep -q 'churn: 10 times' "$log" && ! grep -q 'cannot unmap' "$log"
	result $? "memory is hot-plugged and unplugged under traffic ($(total "$log" RX-packets) packets, 0 dropped)" "$log"
	sed -n 's/.*churn: /# /p' "$log"
}

physical_addresses_are_refused() {
	local log=$work/pa
	timeout 600 "$wherry" exec --quiet -- dpdk-testpmd -l 0,1 --no-telemetry "${drivers[@]}" -a "$first" \
		--iova-mode=pa -- </dev/null >"$log" 2>&1
	grep -q "$first is refused: EAL uses physical I/O addresses" "$log"
	result $? "physical I/O addresses are refused with a message" "$log"
}

# The second port's character device is not to be had: that one takes EAL's own path, in one process
# with the first, and both reach the same memory: what comes and goes under traffic as well.
beside_type1() {
	local log=$work/beside node
	node=$(echo "/sys/bus/pci/devices/$second/vfio-dev"/vfio*)
	node=/dev/vfio/devices/${node##*/}
	mv "$node" "$work/node"
	forward "$log" 'churn: 1 times' env WHERRY_CHURN=1 "$wherry" exec --quiet EAL -d "$churn" --in-memory
	mv "$work/node" "$node"
	passes "$log" && grep -q 'churn: 1 times .* 0 failed' "$log" && grep -q "vfio-shim: $first: iommufd" "$log" &&
		grep -q "vfio-shim: $second: EAL's own path: there is no /dev/vfio/devices/" "$log"
	result $? "a port on iommufd and one on type1 forward to each other ($(total "$log" RX-packets) packets, 0 dropped)" "$log"
	sed -n 's/.*vfio-shim: 0000/# 0000/p; s/.*churn: /# /p' "$log" | sort -u
}

# What it is compared with: EAL's own path.
without_shim() {
	local log=$work/legacy
	forward "$log" 3 env EAL --iova-mode=va
	passes "$log"
	result $? "the same without the shim, on type1 ($(total "$log" RX-packets) packets)" "$log"
}

plan_begin
if [ ${#nics[@]} -lt 2 ]; then
	skip "testpmd on iommufd" "no two NICs: devtools/vm/run vtd-ad --nic igb-pair -- $0 $1"
else
	mkdir -p /run/dpdk
	for ((i = 0; i + 1 < ${#nics[@]}; i += 2)); do
		first=${nics[i]} second=${nics[i + 1]}
		[ $# -gt 1 ] || on_iommufd
	done
	first=${nics[0]} second=${nics[1]}
	for test in "${@:2}"; do "$test"; done
fi
plan_end
