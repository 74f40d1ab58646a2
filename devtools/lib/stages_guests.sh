# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# Stage guests: the same tests in machines with real IOMMUs, kernels and drivers (devtools/vm).
#
# What a machine needs is built when it is not in the cache: that takes a quarter of an hour
# once, and shows in the log. A package or a mirror that is missing is a skip with its
# reason, anything else that goes wrong is a failure.

# Machines, and with --full all of them. x86_64 shares one kernel and one QEMU, arm64 another.
guest_machines=(mock vtd vtd-ad vtd-naive amd-ad smmu-ad smmu-stale)
guest_machines_full=(compat vtd-new vtd-ad-new)

# What an IOMMU that forgets D after a read has to be caught by, and what a kernel that
# forgets to invalidate.
stale_has_to_fail=(tracking_precopy_under_dma_copies_all tracking_sees_the_same_pages_written_again
	tracking_sees_a_write_to_what_was_sent)
naive_has_to_fail=(tracking_precopy_under_dma_copies_all tracking_read_leaves_exactly_what_was_written
	tracking_sees_the_same_pages_written_again tracking_sees_a_write_behind_a_cached_read
	tracking_sees_a_write_to_what_was_sent tracking_marks_both_pages_of_a_frame_across
	tracking_sees_every_page_of_a_sweep)

guest_packages() {
	devtools/packages vm && return
	echo "devtools/packages vm cannot install them: is there a mirror?"
	return 77
}

# Programs for the machine's architecture, in a folder of this tree.
guest_programs() { # guest_programs MACHINE: sets programs
	programs=build
	case $1 in
	smmu-*)
		programs=build-arm64
		[ -z "${built[$programs]:-}" ] || return 0
		limit=900 check "$programs is built" devtools/vm/cross "$programs" && built["$programs"]=ok
		;;
	*) need_gcc ;;
	esac
}

in_guest() { # in_guest MACHINE OPTION... -- COMMAND...
	devtools/vm/run "$1" --timeout "${limit:-300}" "${@:2}"
}

# The contract on all devices that devtools/vm has and Wherry can make DMA with; on arm64 a
# second NIC would tell nothing of the IOMMU that the first has not, and takes minutes.
guest_conformance() { # guest_conformance MACHINE
	local nic nics=(e1000e igb)
	[ "${1%%-*}" != smmu ] || [ -n "$full" ] || nics=(e1000e)
	for nic in "${nics[@]}"; do
		limit=900 tap "wherry-test ($1, $nic)" in_guest "$1" --nic "$nic-pair" -- \
			"$programs/app/test/wherry-test" -f '*@nic' tracking_ exact_ vfio_ iommufd_ type1_
	done
}

guest_mock() {
	limit=600 tap "wherry-test (mock)" in_guest mock -- "$programs/app/test/wherry-test" -f '*@mock'
}

guest_nodes() {
	tap "two NUMA nodes (vtd)" in_guest vtd --numa -- "$programs/app/test/wherry-test" mem_
}

# The negative control: a suite proves nothing until it fails where it should.
has_to_fail() { # has_to_fail MACHINE TEST...
	local name missed=0 tap=$logs/$1.tap
	in_guest "$1" --nic e1000e -- "$programs/app/test/wherry-test" -f tracking_ >"$tap"
	for name in "${@:2}"; do
		grep -q "^not ok .* $name/iommufd\$" "$tap" || { echo "$name passed" && missed=1; }
	done
	cat "$tap"
	return "$missed"
}

# Scripts of their own, which print TAP: each names its machines and options.
guest_scripts() { # guest_scripts MACHINE
	local script options
	for script in app/test/guest/*.sh; do
		grep -qsE "^# Machines:.* $1( |\$)" "$script" || continue
		options=$(sed -n 's/^# Options: //p' "$script")
		# shellcheck disable=SC2086 # options are words
		limit=600 tap "${script##*/} ($1)" in_guest "$1" $options -- "$script" "$programs"
	done
}

stage_guests() {
	local machine programs
	if [ "$(id -u)" -ne 0 ]; then
		skip "guests" "not root, and a machine reads the host's root file system: sudo devtools/test guests"
		return
	fi
	[ -z "$packages" ] || limit=900 check "packages of the machines" guest_packages || return
	[ -z "$full" ] || guest_machines+=("${guest_machines_full[@]}")
	for machine in "${guest_machines[@]}"; do
		limit=3600 check "$machine is built" devtools/vm/build "$machine" || continue
		guest_programs "$machine" || continue
		case $machine in
		vtd-naive) limit=900 check "a VT-d that forgets D is noticed" has_to_fail vtd-naive "${naive_has_to_fail[@]}" ;;
		smmu-stale) limit=900 check "a kernel that forgets to invalidate is noticed" \
			has_to_fail smmu-stale "${stale_has_to_fail[@]}" ;;
		mock) guest_mock ;;
		vtd) guest_conformance vtd
			guest_nodes ;;
		*) guest_conformance "$machine" ;;
		esac
		guest_scripts "$machine"
	done
	[ -n "$full" ] || skip "machines ${guest_machines_full[*]}" "devtools/test --full guests runs them"
}
