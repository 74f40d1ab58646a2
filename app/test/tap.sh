# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# TAP of test scripts, to be sourced: plan_begin; result and skip, a line per test; plan_end; and how
# they leave nothing behind.
#
# What a failed test is to be judged by is shown behind its line, $tap_lines lines per file.

passed=0 failed=0 skipped=0
tap_lines=40

plan_begin() { echo "TAP version 13"; }

result() { # result STATUS NAME [LOG...]
	local status=$1 name=$2
	shift 2
	if [ "$status" -eq 0 ]; then
		passed=$((passed + 1))
		echo "ok $((passed + failed + skipped)) - $name"
		return
	fi
	failed=$((failed + 1))
	echo "not ok $((passed + failed + skipped)) - $name"
	[ $# -eq 0 ] || tail -n "$tap_lines" "$@" 2>/dev/null | tr -d '\000' | sed 's/^/# /'
}

skip() { # skip NAME REASON
	skipped=$((skipped + 1))
	echo "ok $((passed + failed + skipped)) - $1 # SKIP $2"
}

# Its status is that of the script.
plan_end() {
	echo "1..$((passed + failed + skipped))"
	echo "# $passed passed, $failed failed, $skipped skipped"
	[ "$failed" -eq 0 ]
}

# What EALs of such a file prefix have left behind; they have ended.
forget_eals() { # forget_eals PATTERN
	local folder=${XDG_RUNTIME_DIR:-/tmp}
	[ "$(id -u)" -ne 0 ] || folder=/run
	# shellcheck disable=SC2086 # it is a pattern
	rm -rf "${RUNTIME_DIRECTORY:-$folder}/dpdk/"${1:?}
}

# Ends what the script started in the background, and only that.
end_jobs() {
	local pid
	for pid in $(jobs -p); do kill "$pid" 2>/dev/null; done
	wait
}
