# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash disable=SC2034,SC2154 # shared with the other files of devtools/test
# Stages that run what was built: unit, scripts, sanitizers, valgrind, fuzz, coverage; and the model.

# The programs with unit tests in a build folder; the ones DPDK is needed for may be missing.
test_programs() { # test_programs FOLDER
	find "$1/app/test" -type f -executable -name 'wherry-test*' | sort
}

# What a build folder lacks, and why: nothing is left out in silence.
report_missing() { # report_missing FOLDER
	local name
	while IFS= read -r name; do
		[ -n "$(find "$1/app/test" -name "$name" -type f)" ] ||
			skip "$name ($1)" "not built: $(why_not_built "$1")"
	done < <(grep -hoE "executable\('wherry-test[a-z-]*" app/test/meson.build app/test/*/meson.build | cut -d"'" -f2)
}

why_not_built() { # why_not_built FOLDER
	if ! grep -q '"name": "libdpdk"' "$1/meson-info/intro-dependencies.json"; then
		echo "DPDK is not part of this build; devtools/packages build installs it"
	else
		echo "no driver headers of this DPDK; devtools/dpdk-sdk fetches them"
	fi
}

# The large one: its tests are about time-outs, and sleep more than they work.
unit_test_in_parts() { # unit_test_in_parts FOLDER [WRAPPER...]
	local part parts=2
	for ((part = 1; part <= parts; part++)); do
		WHERRY_LONG=$long limit=1200 lane "wherry-test $part/$parts ($1)" tap "wherry-test $part/$parts ($1)" \
			"${@:2}" "$1/app/test/wherry-test" -p "$part/$parts"
	done
}

# Each program in a folder, side by side.
unit_tests() { # unit_tests FOLDER [WRAPPER...]
	local program name
	while IFS= read -r program; do
		name="${program##*/} ($1)"
		case $program in
		*/wherry-test) unit_test_in_parts "$@" ;;
		*) WHERRY_LONG=$long limit=900 lane "$name" tap "$name" "${@:2}" "$program" ;;
		esac
	done < <(test_programs "$1")
}

# Each failure at each record of a migration, a hundred times: they sleep, and can do so side by side.
cells_by_night() { # cells_by_night FOLDER
	local part parts=4
	for ((part = 1; part <= parts; part++)); do
		WHERRY_RUNS=100 limit=7200 lane "cells $part/$parts" tap "cells $part/$parts" \
			"$1/app/test/wherry-test" -p "$part/$parts" cell_
	done
}

stage_unit() {
	local folder folders=()
	! need_gcc || folders+=(build)
	! need_clang || folders+=(build-clang)
	for folder in ${folders[@]+"${folders[@]}"}; do unit_tests "$folder"; done
	[ -z "$long" ] || [ ! -x build/app/test/wherry-test ] || cells_by_night build
	wait_for_lanes
	for folder in ${folders[@]+"${folders[@]}"}; do report_missing "$folder"; done
}

# Exhaustive searches need no more runs in a night, but a night has time for larger ones.
stage_model() {
	local part
	for part in 1/2 2/2; do
		limit=$((${long:+1500} + 600)) lane "models $part" tap "models $part" doc/model/run ${long:+--long} --part "$part"
	done
	wait_for_lanes
}

# What the unit stage skips where the machine has no free hugepages: as root it can have some.
stage_hugepages() {
	local status=0
	local -a with=(devtools/with-hugepages 160)
	need_gcc || return
	run "reserve" "${with[@]}" true || status=$?
	if [ "$(id -u)" -ne 0 ] || [ "$status" -eq 77 ]; then
		skip "hugepages" "no 160 hugepages of 2 MiB to reserve: run it as root, on a machine with memory to spare"
		return
	fi
	tap "wherry-test (hugepages)" "${with[@]}" build/app/test/wherry-test soft_file dirty_
	[ ! -x build/app/test/net/wherry-test-net ] ||
		tap "wherry-test-net (hugepages)" "${with[@]}" env WHERRY_TEST_EAL="--in-memory -m 64" \
			build/app/test/net/wherry-test-net eal_
	[ ! -x build/examples/tcp-server/tcp-server ] ||
		tap "failures (hugepages)" "${with[@]}" env WHERRY_BUILD="$PWD/build" \
			app/test/whole/failures.py another_page_size
}

# Tests that are scripts (whole programs, namespaces, testpmd): meson knows their commands.
script_tests() { # script_tests FOLDER: name, tab, shell words of the command
	meson introspect --tests "$1" | /usr/bin/python3 -c '
import json, shlex, sys
for test in json.load(sys.stdin):
    if not test["cmd"][0].rsplit("/", 1)[-1].startswith("wherry-test"):
        where = test["workdir"] or sys.argv[1]
        env = [f"--chdir={where}", *(f"{k}={v}" for k, v in test["env"].items())]
        print(test["name"], shlex.join(["env", *env, *test["cmd"]]), sep="\t")
' "$1"
}

stage_scripts() {
	local name command
	need_gcc || return
	check "the list of tests" script_tests build || return
	while IFS=$'\t' read -r name command; do
		WHERRY_LONG=$long limit=$((${long:+6900} + 300)) tap "$name" bash -c "exec $command"
	done < <(script_tests build)
}

# clang 14 and gcc 12 sanitizers want their shadow where address randomization may put something else
no_aslr() { setarch "$(uname -m)" -R "$@"; }

stage_asan() {
	export ASAN_OPTIONS=detect_leaks=1:strict_string_checks=1:detect_stack_use_after_return=1
	export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
	export LSAN_OPTIONS=suppressions=$PWD/devtools/lsan.supp:print_suppressions=0
	need_asan || return
	unit_tests build-asan no_aslr
	wait_for_lanes
	report_missing build-asan
}

# A report fails the run here and not by exit status: forked peers would inherit it.
without_races() {
	local status
	no_aslr "$@"
	status=$?
	! grep -q '^WARNING: ThreadSanitizer' "$log" || status=66
	return "$status"
}

stage_tsan() {
	export TSAN_OPTIONS=suppressions=$PWD/devtools/tsan.supp:halt_on_error=0:exitcode=0:die_after_fork=0:report_thread_leaks=0
	need_tsan || return
	unit_test_in_parts build-tsan without_races
	wait_for_lanes
}

# Twenty times slower than the real thing: the folders that finish in time.
stage_valgrind() {
	need_gcc || return
	limit=1200 tap "wherry-test (valgrind)" valgrind -q --error-exitcode=9 --leak-check=full \
		--errors-for-leak-kinds=definite --suppressions=devtools/valgrind.supp \
		build/app/test/wherry-test base_ bitmap_ iova_ stream_
}

fuzz_targets() { find build-fuzz/app/fuzz -maxdepth 1 -type f -executable -name 'fuzz-*' | sort; }

# What it finds goes to build-fuzz/, what is in the tree is where it starts.
fuzz_one() { # fuzz_one TARGET SECONDS
	local name=${1##*/}
	local seeds=app/fuzz/corpus/${name#fuzz-} found=build-fuzz/found/$name
	local -a corpus=("$found")
	mkdir -p "$found"
	[ ! -d "$seeds" ] || corpus+=("$seeds")
	no_aslr "$1" -max_total_time="$2" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
		-artifact_prefix="$found-" "${corpus[@]}"
}

stage_fuzz() {
	local target seconds=5
	need_fuzz || return
	[ -n "$(fuzz_targets)" ] || skip "fuzz" "no target in app/fuzz"
	while IFS= read -r target; do
		if [ -n "$long" ]; then
			limit=7200 lane "${target##*/}" check "${target##*/}: 30 minutes" \
				devtools/fuzz "${target##*/fuzz-}"
		else
			limit=$((seconds + 60)) lane "${target##*/}" check "${target##*/}: $seconds s" \
				fuzz_one "$target" "$seconds"
		fi
	done < <(fuzz_targets)
	wait_for_lanes
}

coverage_is_kept() { # coverage_is_kept LINE BRANCH
	gcovr --root . --object-directory build-cov --filter lib/ --exclude-throw-branches \
		--print-summary --fail-under-line "$1" --fail-under-branch "$2" \
		--html-details build-cov/coverage.html
}

# The thresholds are raised when there is more, and never lowered.
stage_coverage() {
	need_coverage || return
	find build-cov -name '*.gcda' -delete
	unit_tests build-cov
	wait_for_lanes
	report_missing build-cov
	check "coverage of lib/: 93 % of lines, 80 % of branches" coverage_is_kept 93 80
}
