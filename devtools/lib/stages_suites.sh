# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# Stage suites: one source for every DPDK from 22.11 on. What this machine's Debian has is tested
# everywhere else; here are newer suites, by devtools/vm/suite, with the compilers they have, and in
# machines, with their dpdk-testpmd and their drivers of igb, e1000e, vmxnet3 and virtio.

suites=(trixie forky) # DPDK 24.11, 25.11

# What real devices, VFIO and iommufd have to do with DPDK: the same scripts as with this machine's.
suite_machines=(vtd vtd-ad)

# The programs that know DPDK: what the others test is the same everywhere.
suite_tests() { # suite_tests SUITE
	local program
	while IFS= read -r program; do
		tap "${program##*/} ($1)" devtools/vm/suite "$1" -- "$program"
	done < <(test_programs "build-$1" | grep '/wherry-test-')
	report_missing "build-$1"
}

stage_suites() {
	local suite machine
	if [ -z "$full${only[*]}" ]; then
		skip "Debian ${suites[*]}" "devtools/test --full suites runs them"
		return
	fi
	if [ "$(id -u)" -ne 0 ]; then
		skip "Debian ${suites[*]}" "not root, which a chroot needs: sudo devtools/test --full suites"
		return
	fi
	[ -z "$packages" ] || limit=900 check "packages of the machines" guest_packages || return
	for suite in $(selected "${suites[@]}"); do
		limit=1200 check "Debian $suite is unpacked" devtools/vm/build "root-$suite" || continue
		limit=1200 check "build-$suite is built" devtools/vm/suite "$suite" --build "build-$suite" || continue
		suite_tests "$suite"
		lane_width=$(guests_at_a_time)
		for machine in $(selected "${suite_machines[@]}"); do
			! limit=3600 check "$machine is built" devtools/vm/build "$machine" || guest_scripts "$machine" "$suite"
		done
		wait_for_lanes
		lane_width=$(nproc)
	done
}
