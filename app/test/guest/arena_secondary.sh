#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Machines: vtd-ad
# Usage: arena_secondary.sh BUILD: a secondary process writes the arena of a primary that migrates
#
# Needs root and 100 free hugepages of 2 MiB, for a secondary needs shared memory. What the source's
# arena is in the end and what came to the destination have to be equal, byte by byte; and what was handed
# over stays what it is, though a secondary that was told to leave goes on writing. One that writes more than
# can be sent is slowed down if asked.
# shellcheck source-path=SCRIPTDIR
set -uo pipefail
here=$(dirname "$0")
. "$here/../tap.sh"
. "$here/pmds.sh"

program=$1/app/test/guest/arena-secondary
wherry=$1/app/wherry/wherry
work=$(mktemp -d)
one='' writer='' primaries=0 started=()

# Those that a scenario has left, if it went wrong: by their timeouts, which end them.
end_started() {
	local pid
	for pid in ${started[@]+"${started[@]}"}; do
		grep -qsaF "$program" "/proc/$pid/cmdline" || continue
		kill "$pid"
		for _ in $(seq 50); do
			kill -0 "$pid" 2>/dev/null || break
			sleep 0.2
		done
	done
	started=()
}

# shellcheck disable=SC2329 # called by trap
cleanup() {
	end_started
	forget_eals 'sec-*'
	rm -rf "$work"
}
trap cleanup EXIT

# In the background, its process id in pid.
start() { # start LOG PREFIX EAL-ARG... -- ARG...
	rm -f "$work/$1"
	timeout 900 "$program" --no-pci --no-telemetry --log-level=lib.eal:error "${drivers[@]}" \
		-d "$(echo /usr/lib/*/dpdk/pmds-*/librte_net_null.so)" \
		--file-prefix "sec-$2" "${@:3}" >"$work/$1" 2>&1 &
	pid=$!
	started+=("$pid")
	disown # its end is looked for, and is nobody's news
}

primary() { # primary LOG PREFIX ARG...
	start "$1" "$2" -l 0 --vdev net_null0 -m 64 --iova-mode=va -- "${@:3}"
}

migrate() { # migrate OPTION...: from one to two
	timeout 500 "$wherry" migrate --control "$work/one.sock" --downtime-limit 5000 --max-bandwidth 20M "$@" \
		"unix:$work/uri" >"$work/migrate" 2>&1
}

# The next one; one that was left alone takes a moment to end.
destination() { # destination [KIND]
	primaries=$((primaries + 1))
	primary two "two-$primaries" "${1:-destination}" "$work/two.sock" "unix:$work/uri"
	for _ in $(seq 1500); do
		[ ! -S "$work/uri" ] || return 0
		sleep 0.2
	done
	return 1
}

# A pair, and a destination for it.
begin() { # begin [KIND [DESTINATION]]
	end_started
	primaries=$((primaries + 1))
	primary one "one-$primaries" source "$work/one.sock" && one=$pid
	saw "$work/one" running "$one" || return 1
	start writer "one-$primaries" --lcores 0@1 --proc-type=secondary -- "${1:-writer}" && writer=$pid
	saw "$work/writer" writing "$writer" || return 1
	destination "${2:-}"
}

equal() {
	saw "$work/one" left: "$one"
	[ "$(sed -n 's/^left: \([0-9a-f]*\) .*/\1/p' "$work/one")" = "$(sed -n 's/^came: //p' "$work/two")" ]
}

writes() { sed -n 's/^left: .* after \([0-9]*\) writes/\1/p' "$work/one"; }

# Its timeout is what was started; the program is its child.
signal() { # signal NAME PID
	kill "-$1" "$(cat "/proc/$2/task/$2/children")"
}

moves_with_its_writer() {
	begin || { result 1 "a secondary attaches to the arena" "$work"/*; return; }
	result 0 "a secondary attaches to the arena"
	signal STOP "$writer"
	migrate --copy
	[ $? -eq 1 ] && grep -q 'a secondary process is not parked' "$work/one"
	result $? "a secondary that does not park keeps its primary where it is" "$work"/*
	signal CONT "$writer"
	destination
	migrate --copy && saw "$work/writer" 'left the loop' "$writer"
	result $? "the primary migrates, and its secondary leaves" "$work"/*
	equal && [ "$(writes)" -gt 100000 ]
	result $? "the copy equals the arena ($(writes) writes by the secondary)" "$work"/*
}

moves_while_its_writer_dies() {
	begin || { result 1 "a second pair" "$work"/*; return; }
	(sleep 1.2; signal KILL "$writer") &
	migrate --copy && equal && ! grep -q 'left the loop' "$work/writer"
	result $? "a secondary is killed in pre-copy, and the copy equals the arena ($(writes) writes)" "$work"/*
}

# 80 MB/s get dirty, and a quarter of that can be sent.
is_slowed_down() {
	local -a limits=(--copy --downtime-limit 60)
	begin steady || { result 1 "a fourth pair" "$work"/*; return; }
	if migrate "${limits[@]}" --max-rounds 5; then
		skip "a secondary is slowed down" "this machine is too busy for it to write 40 MB/s"
		return
	fi
	grep -q 'not converged' "$work/migrate"
	result $? "a secondary that writes faster than can be sent keeps its primary" "$work"/*
	destination && migrate "${limits[@]}" --max-rounds 60 --auto-converge && equal
	result $? "with --auto-converge it is slowed down, and the primary migrates" "$work"/*
}

# The library takes the memory away before the cores learn that they are to leave.
stays_whatever_its_writer_does() {
	local came
	begin stubborn heir || { result 1 "a third pair" "$work"/*; return; }
	migrate && saw "$work/writer" 'goes on' "$writer" && saw "$work/two" kept: "$pid"
	result $? "the arena is handed over, and its secondary goes on writing" "$work"/*
	came=$(sed -n 's/^came: //p' "$work/two")
	[ -n "$came" ] && [ "$(sed -n 's/^kept: //p' "$work/two")" = "$came" ]
	result $? "what was handed over stays as it came" "$work"/*
}

plan_begin
if [ "$(id -u)" -ne 0 ] || [ "$(cat /sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages)" -lt 100 ]; then
	skip "a secondary writes an arena" "not root, or no 100 free hugepages: devtools/with-hugepages 100 $0 $1"
else
	mkdir -p /run/dpdk /run/wherry
	moves_with_its_writer
	moves_while_its_writer_dies
	is_slowed_down
	stays_whatever_its_writer_does
fi
plan_end
