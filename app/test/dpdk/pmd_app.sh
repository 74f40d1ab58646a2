#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Usage: pmd_app.sh BUILD-FOLDER: examples/pmd-app as a user has it, TAP on stdout.
#
# Installs the build into a folder of its own, makes pmd-app with the installed
# pkg-config files, shared and static, and migrates it from one process to another: with
# a stock PMD (net_tap), and with net_wherry, whose DMA goes through the soft IOMMU. All
# in network and mount namespaces of its own, which end with it.
# shellcheck source-path=SCRIPTDIR/../../..
set -uo pipefail

src=$(cd "$(dirname "$0")/../../.." && pwd)
if [ "$(id -u)" -ne 0 ] || [ ! -c /dev/net/tun ]; then
	echo '1..0 # SKIP needs root and /dev/net/tun'
	exit 0
fi
[ -n "${PMD_APP_INSIDE-}" ] ||
	exec env PMD_APP_INSIDE=1 unshare --net --mount --pid --fork --kill-child "$0" "$(realpath "$1")"

. "$src/app/test/tap.sh"
build=$1
work=$(mktemp -d "$build/pmd-app.XXXXXX") # EAL loads no plugin from below /tmp
trap 'rm -rf "$work"' EXIT
prefix=$work/prefix
tap_lines=8
pids=()

check() { # check NAME COMMAND...
	local name=$1
	shift
	"$@" >>"$work/check.log" 2>&1
	result $? "$name" "$work"/*.log
}

until_says() { # until_says FILE TEXT: within 20 seconds
	for _ in $(seq 200); do
		grep -q "$2" "$1" 2>/dev/null && return 0
		sleep 0.1
	done
	echo "$1 never said: $2"
	return 1
}

# As a package would be: the files know where they are.
install_prefix() {
	DESTDIR=$work/dest meson install -C "$build" --no-rebuild >"$work/install.log" 2>&1 || return 1
	local found
	found=$(find "$work/dest" -name wherry-dpdk.pc) || return 1
	PKG_CONFIG_PATH=$(dirname "$found")
	export PKG_CONFIG_PATH
	LD_LIBRARY_PATH=$(dirname "$PKG_CONFIG_PATH")
	export LD_LIBRARY_PATH
	plugin=$(find "$work/dest" -name librte_net_wherry.so)
	wherry=$(find "$work/dest" -name wherry -type f)
	prefix=$work/dest$(sed -n 's/^prefix=//p' "$found")
	sed -i "s#^prefix=.*#prefix=$prefix#" "$PKG_CONFIG_PATH"/wherry*.pc
}

make_app() { # make_app TARGET
	mkdir -p "$work/app"
	cp "$src"/examples/pmd-app/{main.c,Makefile} "$work/app" || return 1
	make -C "$work/app" "$1"
}

one_eal() { # a static program needs none of the shared libraries
	! ldd "$work/app/pmd-app-static" | grep -E 'librte_|libwherry'
}

in_150_lines() { [ "$(wc -l <"$src/examples/pmd-app/main.c")" -lt 150 ]; }

# client - bridge - two wires, which the applications' taps are plugged into
make_network() {
	mount -t tmpfs none /run && mkdir -p /run/wherry /run/dpdk
	ip link set lo up
	ip link add client type veth peer name plug
	ip link add bridge type bridge
	ip link set plug master bridge
	for link in client plug bridge; do
		sysctl -qw "net.ipv6.conf.$link.disable_ipv6=1"
		ip link set "$link" up
	done
}

start() { # start PROGRAM KIND NAME [URI]: EAL of its own, tap NAME on the bridge
	local program=$1 kind=$2 name=$3
	local vdev=(--vdev "net_tap0,iface=$name")
	[ "$kind" = net_tap ] || vdev=(-d "$plugin" --vdev "net_wherry0,wire=tap=$name")
	: >"$work/$name.log"
	"$work/app/$program" --no-huge --no-pci -m 64 -l 0 --file-prefix "$name" "${vdev[@]}" -- \
		"$name" "${@:4}" >"$work/$name.log" 2>&1 &
	pids+=($!)
	for _ in $(seq 100); do
		ip link set "$name" master bridge 2>/dev/null && break
		sleep 0.1
	done
	ip link set "$name" up
	sysctl -qw "net.ipv6.conf.$name.disable_ipv6=1"
}

frames() { python3 "$src/app/test/dpdk/frames.py" client "$@"; }

counts_go_on() { # counts_go_on BEFORE AFTER-ONE STREAM...
	local before=$1 after=$2 first=$3 last=$4 sent=$5 answered=$6 back=$7
	echo "quiet address $before, then $after; stream $first to $last: $sent sent," \
		"$answered answered, $back times back"
	[ "$after" -eq $((before + 1)) ] && [ "$back" -eq 0 ] && [ "$first" -ge 1 ] &&
		[ "$last" -ge "$answered" ] && [ "$answered" -ge $((sent / 2)) ]
}

migrate() { # migrate PROGRAM KIND: from one to two, under traffic
	local program=$1 kind=$2 quiet=02:00:00:00:00:01 busy=02:00:00:00:00:02 streaming
	local what="$program with $kind"
	pids=()
	start "$program" "$kind" one
	check "$what serves" until_says "$work/one.log" 'serving as one'
	check "$what answers and counts" test "$(frames one $quiet 7)" = 7
	start "$program" "$kind" two unix:/run/two.sock
	check "$what waits" timeout 20 sh -c 'until [ -S /run/two.sock ]; do sleep 0.1; done'
	frames stream $busy 4 >"$work/stream" 2>&1 &
	streaming=$!
	sleep 1
	check "$what migrates" timeout 30 "$wherry" migrate --app one unix:/run/two.sock
	sed -n 's/^completed:/#/p' "$work/check.log" | tail -1
	check "$what ends where it was" timeout 10 tail --pid="${pids[0]}" -f /dev/null
	check "$what says so" grep -q 'ended as one' "$work/one.log"
	check "$what serves elsewhere" until_says "$work/two.log" 'serving as two'
	wait $streaming
	# shellcheck disable=SC2046 # words are wanted
	check "$what goes on counting" counts_go_on 7 "$(frames one $quiet)" $(cat "$work/stream")
	kill -TERM "${pids[1]}" 2>/dev/null
	wait "${pids[1]}"
	check "$what ends when told to" test $? -eq 0
}

check 'pmd-app is installed beside' install_prefix
check 'pmd-app has less than 150 lines' in_150_lines
check 'pmd-app builds with shared DPDK' make_app pmd-app
check 'pmd-app builds with static DPDK' make_app static
check 'pmd-app with static DPDK has one EAL' one_eal
make_network
migrate pmd-app net_tap
migrate pmd-app-static net_tap
if [ -n "$plugin" ]; then
	migrate pmd-app net_wherry
else
	skip 'pmd-app with net_wherry' 'net_wherry is not built: devtools/dpdk-sdk'
fi
plan_end
