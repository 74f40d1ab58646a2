# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash disable=SC2154 # devtools/test sets it
# Several tests side by side, for what waits more than it works: emulated machines, and programs
# whose tests are about time-outs.
#
# A *lane* is one check or tap that runs while others do, at most $lane_width at a time, and a queue
# of them is one part of a stage. A lane is a process of its own: it counts for itself, prints into a
# file, and what it sets is lost with it, so what lanes need is built before. Their lines come out
# whole and in the order in which they were begun, as if one had run after the other. A lane
# that dies without having counted has failed.

lane_width=$(nproc) # at a time
lane_queue=()       # pid and name of those begun and not shown yet
lane_folder=        # in a lane: its files `out`, `counts` and `now`, what it does at the moment

# shellcheck disable=SC2317 # called by the trap
lane_interrupted() {
	trap '' TERM
	[ -z "$job" ] || kill_job TERM
	exit 130
}

# In the lane's own process.
lane_runs() { # lane_runs COMMAND...
	trap lane_interrupted TERM
	passed=0 failed=0 skipped=0
	"$@"
	echo "$passed $failed $skipped" >"$lane_folder/counts"
}

lane() { # lane NAME COMMAND...: begin it as soon as there is room
	local folder
	folder=$logs/lane_$(tr -cs 'A-Za-z0-9+-' _ <<<"$stage $1")
	wait_for_lanes $((lane_width - 1))
	rm -rf "$folder" && mkdir "$folder"
	(lane_folder=$folder && lane_runs "${@:2}") </dev/null >"$folder/out" 2>&1 &
	lane_queue+=("$! $folder")
}

lanes_running() {
	local entry number=0
	for entry in ${lane_queue[@]+"${lane_queue[@]}"}; do
		! kill -0 "${entry%% *}" 2>/dev/null || number=$((number + 1))
	done
	echo "$number"
}

# Lines and counts of the oldest ones, as far as they have ended.
show_ended_lanes() {
	local pid folder p f s
	while [ ${#lane_queue[@]} -gt 0 ]; do
		read -r pid folder <<<"${lane_queue[0]}"
		! kill -0 "$pid" 2>/dev/null || return 0
		wait "$pid" 2>/dev/null
		[ ! -t 1 ] || printf '\r\033[K'
		cat "$folder/out"
		if read -r p f s 2>/dev/null <"$folder/counts"; then
			passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
		else
			failed=$((failed + 1))
			notice "not ok - $folder ended before its tests had"
		fi
		lane_queue=("${lane_queue[@]:1}")
	done
}

# What each of them does now, in one line.
show_lanes() { # show_lanes SECONDS
	local entry line=''
	for entry in "${lane_queue[@]}"; do
		! kill -0 "${entry%% *}" 2>/dev/null || line+="; $(cat "${entry#* }/now" 2>/dev/null)"
	done
	if [ -t 1 ]; then
		printf '\r\033[K... %.150s' "${line#; }"
	elif [ $(($1 % 30)) -eq 0 ]; then
		notice "... ${line#; }"
	fi
}

wait_for_lanes() { # wait_for_lanes [NUMBER]: until at most so many run; without it, until all have ended
	local start=$SECONDS shown=0
	while [ "$(lanes_running)" -gt "${1:-0}" ]; do
		sleep 0.2
		show_ended_lanes
		[ $((SECONDS - start)) -gt "$shown" ] || continue
		shown=$((SECONDS - start))
		[ ${#lane_queue[@]} -eq 0 ] || show_lanes "$shown"
	done
	show_ended_lanes
}

# What has begun ends, and cleans up after itself.
end_lanes() {
	local entry
	for entry in ${lane_queue[@]+"${lane_queue[@]}"}; do kill "${entry%% *}" 2>/dev/null; done
	for entry in ${lane_queue[@]+"${lane_queue[@]}"}; do wait "${entry%% *}" 2>/dev/null; done
}
