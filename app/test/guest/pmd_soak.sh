#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Machines: vtd-ad amd-ad vtd-naive
# Options: --nic igb-pair --nic e1000e-pair
# Usage: pmd_soak.sh BUILD: pre-copy while a real PMD receives and sends, for 20 seconds
#
# In the end the shadow equals the memory, page by page, and the descriptor log knows of no page
# that the IOMMU did not report. On vtd-naive, whose IOTLB forgets D, the shadow has to differ; the
# log may agree all the same, as it looks at eight harvests together, and what one of them misses
# another reports. Without NICs net_wherry does it for three seconds on the soft IOMMU.
# shellcheck source-path=SCRIPTDIR
set -uo pipefail
. "$(dirname "$0")/../tap.sh"
. "$(dirname "$0")/pmds.sh"

seconds=20

number() { grep -oE "\b$1=[0-9]+" "$work/out" | grep -oE '[0-9]+$'; } # number NAME

soak() { run_ports pmd-soak -l 0,1 "$@" -- "$seconds"; } # soak EAL-ARG...

# Nothing was lost: it ran, a lot was written, and all of that was known.
copied_all() { # copied_all STATUS
	[ "$1" -eq 0 ] && [ "$(number frames)" -ge 1000 ] && [ "$(number damaged)" -eq 0 ] &&
		[ "$(number rounds)" -ge 20 ] && [ "$(number differ)" -eq 0 ]
}

log_agrees() { [ "$(number checked)" -ge 100 ] && [ "$(number missing)" -eq 0 ]; }

# The negative control. It ran, but pages were missed.
is_noticed() { # is_noticed STATUS
	[ "$1" -eq 0 ] && [ "$(number frames)" -ge 1000 ] && [ "$(number damaged)" -eq 0 ] &&
		[ "$(number differ)" -gt 0 ]
}

judge() { # judge STATUS
	local driver
	driver=$(grep -oE 'driver=[a-z0-9_]+' "$work/out" | cut -d= -f2)
	if [ "${WHERRY_MACHINE-}" = vtd-naive ]; then
		is_noticed "$1"
		result $? "a VT-d that forgets D leaves a shadow that differs ($driver)" "$work/out" "$work/log"
	else
		copied_all "$1"
		result $? "the shadow equals memory after $seconds s under $driver" "$work/out" "$work/log"
		log_agrees
		result $? "the descriptor log knows of no page that was not reported ($driver)" "$work/out" "$work/log"
	fi
	sed 's/^/# /' "$work/out"
}

begin_ports pmd-soak "$1"
case ${WHERRY_MACHINE-} in
vtd-naive) seconds=8 nics=("${nics[@]:0:2}") ;;
amd-ad) nics=("${nics[@]:0:2}") ;;
'')
	seconds=3
	soak --no-pci -d "$build/drivers/net/emu/librte_net_wherry.so" \
		--vdev "net_wherry0,wire=pair=soak-$$" --vdev "net_wherry1,wire=pair=soak-$$"
	judge $?
	;;
esac
for ((i = 0; i + 1 < ${#nics[@]}; i += 2)); do
	soak "${drivers[@]}" -a "${nics[i]}" -a "${nics[i + 1]}"
	judge $?
done
plan_end
