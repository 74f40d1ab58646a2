# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash disable=SC2034,SC2154 # shared with the other files of devtools/test
# Stage guests: the same tests in machines with real IOMMUs, kernels and drivers (devtools/vm).
#
# What the machines need is built first, when it is not in the cache: that takes half an
# hour once, and shows in the log. A package or a mirror that is missing is a skip with its
# reason, anything else that goes wrong is a failure. Then each test is a lane: a guest waits
# for its devices half of its time, and another one runs meanwhile.

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

# Those that --only names; all, if it names none of them.
selected() { # selected NAME...
	local name some=''
	for name; do
		[[ " ${only[*]} " != *" $name "* ]] || { some=1 && echo "$name"; }
	done
	[ -n "$some" ] || printf '%s\n' "$@"
}

guest_packages() {
	devtools/packages vm && return
	echo "devtools/packages vm cannot install them: is there a mirror?"
	return 77
}

# The build folder with the programs of a machine.
programs_of() { # programs_of MACHINE
	case $1 in
	smmu-*) echo build-arm64 ;;
	*) echo build ;;
	esac
}

# A machine, and programs for its architecture.
guest_is_built() { # guest_is_built MACHINE
	local programs
	programs=$(programs_of "$1")
	limit=3600 check "$1 is built" devtools/vm/build "$1" || return
	case $programs in
	build) need_gcc ;;
	*)
		[ -z "${built[$programs]:-}" ] || return 0
		limit=900 check "$programs is built" devtools/vm/cross "$programs" && built["$programs"]=ok
		;;
	esac
}

# As many as there are cores, and memory: one takes 3 GB, when it uses all it has.
guests_at_a_time() {
	awk -v cores="$(nproc)" '$1 == "MemAvailable:" { n = int($2 / 4000000) }
		END { print n < 1 ? 1 : n < cores ? n : cores }' /proc/meminfo
}

in_guest() { # in_guest MACHINE OPTION... -- COMMAND...
	devtools/vm/run "$1" --timeout "${limit:-300}" "${@:2}"
}

guest_tap() { # guest_tap NAME MACHINE OPTION... -- COMMAND...
	limit=900 lane "$1" tap "$1" in_guest "${@:2}"
}

# The contract on all devices that devtools/vm has and Wherry can make DMA with. What a domain has
# to do ('*@nic') is the IOMMU's business, and one NIC asks for it; what is written, logged and
# stopped is the NIC's as well. With --full both are asked everything. On arm64 a second NIC would
# tell nothing of the IOMMU that the first has not, and takes minutes.
guest_conformance() { # guest_conformance MACHINE
	local nic nics=(e1000e igb) tests
	[ "${1%%-*}" != smmu ] || [ -n "$full" ] || nics=(e1000e)
	for nic in "${nics[@]}"; do
		tests=(tracking_ exact_ vfio_ iommufd_ type1_)
		[ "$nic" != e1000e ] && [ -z "$full" ] || tests+=('*@nic')
		guest_tap "wherry-test ($1, $nic)" "$1" --nic "$nic-pair" -- \
			"$(programs_of "$1")/app/test/wherry-test" -f "${tests[@]}"
	done
}

guest_mock() {
	guest_tap "wherry-test (mock)" mock -- build/app/test/wherry-test -f '*@mock'
}

guest_nodes() {
	guest_tap "two NUMA nodes (vtd)" vtd --numa --memory 5120 --hugepages 64 --append "hugepagesz=1G hugepages=1" -- build/app/test/wherry-test mem_
}

# The negative control: a suite proves nothing until it fails where it should.
has_to_fail() { # has_to_fail MACHINE TEST...
	local name missed=0 tap=$logs/$1.tap
	in_guest "$1" --nic e1000e -- "$(programs_of "$1")/app/test/wherry-test" -f tracking_ >"$tap"
	for name in "${@:2}"; do
		grep -q "^not ok .* $name/iommufd\$" "$tap" || { echo "$name passed" && missed=1; }
	done
	cat "$tap"
	return "$missed"
}

guest_that_has_to_fail() { # guest_that_has_to_fail NAME MACHINE TEST...
	limit=900 lane "$1" check "$1" has_to_fail "${@:2}"
}

# Scripts of their own, which print TAP: each names its machines and options. With SUITE in the user
# land of that Debian, and with its DPDK.
guest_scripts() { # guest_scripts MACHINE [SUITE]
	local script options programs
	programs=$([ -z "${2-}" ] && programs_of "$1" || echo "build-$2")
	for script in app/test/guest/*.sh; do
		grep -qsE "^# Machines:.* $1( |\$)" "$script" || continue
		options=$(sed -n 's/^# Options: //p' "$script")
		# shellcheck disable=SC2086 # options are words
		guest_tap "${script##*/} ($1${2:+, $2})" "$1" ${2:+--suite "$2"} $options -- "$script" "$programs"
	done
}

# What doc/hardware.rst shows of it.
guest_info() { # guest_info MACHINE
	grep -qx ".. machine: $1" doc/hardware.rst || return 0
	limit=900 lane "info $1" check "doc/hardware.rst shows what wherry info says ($1)" devtools/vm/infos --check "$1"
}

guest_tests() { # guest_tests MACHINE
	case $1 in
	vtd-naive) guest_that_has_to_fail "a VT-d that forgets D is noticed" "$1" "${naive_has_to_fail[@]}" ;;
	smmu-stale) guest_that_has_to_fail "a kernel that forgets to invalidate is noticed" "$1" "${stale_has_to_fail[@]}" ;;
	mock) guest_mock ;;
	*) guest_conformance "$1" ;;
	esac
	[ "$1" != vtd ] || guest_nodes
	guest_scripts "$1"
	[ -z "$full" ] || guest_info "$1"
}

stage_guests() {
	local machine there=()
	if [ "$(id -u)" -ne 0 ]; then
		skip "guests" "not root, and a machine reads the host's root file system: sudo devtools/test guests"
		return
	fi
	[ -z "$packages" ] || limit=900 check "packages of the machines" guest_packages || return
	[ -z "$full${only[*]}" ] || guest_machines+=("${guest_machines_full[@]}")
	for machine in $(selected "${guest_machines[@]}"); do
		! guest_is_built "$machine" || there+=("$machine")
	done
	lane_width=$(guests_at_a_time)
	for machine in ${there[@]+"${there[@]}"}; do guest_tests "$machine"; done
	wait_for_lanes
	lane_width=$(nproc)
	[ -n "$full${only[*]}" ] || skip "machines ${guest_machines_full[*]}" "devtools/test --full guests runs them"
}
