#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Usage: vm_crash.sh TREE: devtools/vm/run when its emulator crashes
#
# The emulator is a script that does what the names of its runs say: one that crashes at the boot is
# started once more, one that crashes when the command has begun is not. Needs no QEMU and no kernel.
# shellcheck source-path=SCRIPTDIR
set -uo pipefail
. "$(dirname "$0")/../tap.sh"

tree=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The folder of a run is where the kernel's console goes.
emulator() {
	cat >"$work/emulator" <<-'END'
		#!/usr/bin/env bash
		folder=$(printf '%s\n' "$@" | sed -n 's|.*path=\(.*\)/console.log|\1|p')
		work=$(dirname "$0")
		echo run >>"$work/runs"
		case $(sed -n "$(wc -l <"$work/runs")p" "$work/plan") in
		crash) kill -SEGV $$ ;;
		late) echo 1 >"$folder/uptime" && kill -SEGV $$ ;;
		*) echo 1 >"$folder/uptime" && echo 3 >"$folder/status" ;;
		esac
	END
	chmod +x "$work/emulator"
}

runs() { # runs STATUS RUN...: so it ends, after these runs
	local wanted=$1 status=0
	shift
	printf '%s\n' "$@" end >"$work/plan"
	rm -f "$work/runs"
	"$tree/devtools/vm/run" mock --kernel /dev/null --emulator "$work/emulator" -- true >"$work/log" 2>&1 || status=$?
	[ "$status" -eq "$wanted" ] && [ "$(wc -l <"$work/runs")" -eq $# ]
}

plan_begin
emulator
runs 3 command
result $? "the command's status is the status" "$work/log"
runs 3 crash command && grep -q "crashed while mock booted (139): once more" "$work/log"
result $? "an emulator that crashes at the boot is started once more" "$work/log"
runs 125 crash crash
result $? "one that crashes again is not" "$work/log"
runs 125 late
result $? "one that crashes when the command has begun is not" "$work/log"
plan_end
