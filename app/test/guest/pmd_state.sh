#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Machines: vtd-ad
# Options: --nic igb-pair
# Usage: pmd_state.sh BUILD: what a port of a real PMD is told moves to another, and survives a stop
# shellcheck source-path=SCRIPTDIR
set -uo pipefail
. "$(dirname "$0")/../tap.sh"
. "$(dirname "$0")/pmds.sh"

begin_ports pmd-state "$1"
for ((i = 0; i + 1 < ${#nics[@]}; i += 2)); do
	run_ports pmd-state -l 0 "${drivers[@]}" -a "${nics[i]}" -a "${nics[i + 1]}" --
	status=$? driver=
	while read -r word sentence; do
		case $word in
		driver) driver=$sentence ;;
		yes) result 0 "$driver: $sentence" ;;
		no) result 1 "$driver: $sentence" ;;
		cannot) skip "$driver: $sentence" "this driver has none" ;;
		esac
	done <"$work/out"
	result "$status" "${driver:-no driver}: all was asked" "$work/log"
done
plan_end
