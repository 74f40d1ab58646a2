#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Machines: vtd-ad
# Options: --nic igb-pair
# Usage: pmd_state.sh BUILD: what a port of a real PMD is told moves to another, and survives a stop
# shellcheck source-path=SCRIPTDIR
set -uo pipefail

build=$1
here=$(dirname "$0")
. "$here/../tap.sh"
. "$here/pmds.sh"
work=$(mktemp -d)
trap 'forget_eals "state-$$"; rm -rf "$work"' EXIT

ask() { # ask NIC NIC
	"$build/app/wherry/wherry" exec --quiet -- timeout -k 5 240 "$build/app/test/guest/pmd-state" -l 0 \
		--file-prefix="state-$$" --no-huge -m 64 --no-telemetry --no-shconf --iova-mode=va \
		"${drivers[@]}" -a "$1" -a "$2" >"$work/out" 2>"$work/log"
}

plan_begin
for ((i = 0; i + 1 < ${#nics[@]}; i += 2)); do
	ask "${nics[i]}" "${nics[i + 1]}"
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
