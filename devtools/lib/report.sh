# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash disable=SC2154 # devtools/test sets it
# Running one test and counting it.
#
# A *check* is one command: it passes or fails. A *tap* is a program that prints
# TAP: each of its tests counts, and one that ends before its plan is fulfilled
# has failed once more. What cannot run here is a *skip* with its reason.
# Every command runs in a process group of its own, so that nothing survives it,
# with no stdin, for at most $limit seconds, and leaves its output in build-test/.

passed=0 failed=0 skipped=0
logs=build-test
job= # process group that runs now
log= # what it prints into

notice() { printf '%s\n' "$*"; }

# One line that says that it goes on: rewritten on a terminal, now and then elsewhere.
show_progress() { # show_progress NAME SECONDS
	local done_so_far
	done_so_far=$(grep -cE '^(not )?ok ' "$log" || true)
	if [ -n "$lane_folder" ]; then
		echo "$1 ($2 s, $done_so_far tests)" >"$lane_folder/now"
	elif [ -t 1 ]; then
		printf '\r\033[K... %s (%d s%s)' "$1" "$2" "${done_so_far:+, $done_so_far tests}"
	elif [ $(($2 % 30)) -eq 0 ]; then
		notice "... $1 ($2 s, $done_so_far tests)"
	fi
}

kill_job() { # kill_job SIGNAL: and wait, then make sure
	local try
	kill "-$1" -- "-$job" 2>/dev/null || return 0
	for ((try = 0; try < 100; try++)); do
		kill -0 -- "-$job" 2>/dev/null || return 0
		sleep 0.1
	done
	kill -KILL -- "-$job" 2>/dev/null
}

# CPU seconds of all commands that have ended so far: what they cost, however busy the machine is.
children_cpu() { # sets cpu
	local user sys
	times >"$log.times"
	{ read -r && read -r user sys; } <"$log.times"
	rm -f "$log.times"
	user=${user%.*} sys=${sys%.*}
	cpu=$((${user%m*} * 60 + ${user#*m} + ${sys%m*} * 60 + ${sys#*m}))
}

cpu=0 spent=
took() { # took SECONDS: for a report line
	echo "($1 s, $spent s of CPU)"
}

# Run it to its end or to $limit seconds; the result is its status, 124 for too long. Sets spent.
run() { # run NAME COMMAND...
	local name=$1 start=$SECONDS shown=0 pause=0.02 status
	shift
	log=$logs/$(tr -cs 'A-Za-z0-9+-' _ <<<"$stage $name").log
	children_cpu
	spent=$cpu
	set -m
	("$@") </dev/null >"$log" 2>&1 &
	job=$!
	set +m
	while kill -0 "$job" 2>/dev/null; do
		sleep $pause
		[ $((SECONDS - start)) -eq 0 ] || pause=0.2
		if [ $((SECONDS - start)) -gt $shown ]; then
			shown=$((SECONDS - start))
			show_progress "$name" $shown
		fi
		if [ $shown -ge "${limit:-300}" ]; then
			kill_job TERM
			echo "stopped after $shown s" >>"$log"
			wait "$job" 2>/dev/null
			children_cpu
			spent=$((cpu - spent))
			job=
			return 124
		fi
	done
	[ ! -t 1 ] || printf '\r\033[K'
	wait "$job" 2>/dev/null
	status=$?
	children_cpu
	spent=$((cpu - spent))
	kill -KILL -- "-$job" 2>/dev/null # stragglers
	job=
	return "$status"
}

# A command that has no TAP of its own: it counts as one test. Status 77 says that it cannot
# be had here, and its last line why.
check() { # check NAME COMMAND...
	local name=$1 start=$SECONDS status=0
	run "$@" || status=$?
	if [ "$status" -eq 0 ]; then
		passed=$((passed + 1))
		notice "ok - $name $(took $((SECONDS - start)))"
		return 0
	fi
	if [ "$status" -eq 77 ]; then
		skip "$name" "$(tail -n 1 "$log")"
		return 77
	fi
	failed=$((failed + 1))
	notice "not ok - $name $(took $((SECONDS - start)))"
	tail -n 60 "$log" | sed 's/^/    /'
	notice "    (all of it: $log)"
	return 1
}

skip() { # skip NAME REASON
	skipped=$((skipped + 1))
	notice "ok - $1 # SKIP $2"
}

# "passed failed skipped" of a TAP log, the plan compared.
tap_counts() {
	awk '/^1\.\.[0-9]+/ { plan = substr($1, 4) + 0; planned = 1 }
		/^ok .*# SKIP/ { s++; next } /^ok / { p++ } /^not ok / { f++ }
		END { if (!planned || p + f + s != plan) f++; print p + 0, f + 0, s + 0 }' "$1"
}

# What a TAP log skipped: one line per reason, with one of the tests it concerns.
skips_by_reason() { # skips_by_reason LOG
	sed -nE 's/^ok [0-9]+ - (.*) # SKIP (.*)/\2\t\1/p' "$1" | awk -F'\t' '
		{ n[$1]++; if (n[$1] == 1) { order[++reasons] = $1; first[$1] = $2 } }
		END { for (i = 1; i <= reasons; i++) { r = order[i]
			print "    " first[r] (n[r] > 1 ? " and " n[r] - 1 " more" : "") " # SKIP " r } }'
}

tap() { # tap NAME COMMAND...
	local name=$1 start=$SECONDS status=0 p f s
	run "$@" || status=$?
	read -r p f s < <(tap_counts "$log")
	if [ "$status" -ne 0 ] && [ "$f" -eq 0 ]; then f=1; fi
	passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
	notice "$([ "$f" -eq 0 ] || echo "not ")ok - $name: $p passed, $f failed, $s skipped $(took $((SECONDS - start)))"
	skips_by_reason "$log"
	[ "$f" -gt 0 ] || return 0
	grep -vE '^ok ' "$log" | tail -n 60 | sed 's/^/    /'
	notice "    (exit status $status; all of it: $log)"
	return 1
}
