# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# Stage suites: one source for every DPDK from 22.11 on. What this machine's Debian has is tested
# everywhere else; here are newer suites, by devtools/vm/suite, with the compilers they have.

suites=(trixie forky) # DPDK 24.11, 25.11

suite_in_guest() { # suite_in_guest SUITE: its dpdk-testpmd on real VFIO and iommufd
	limit=900 tap "testpmd_exec.sh (vtd, $1)" in_guest vtd --suite "$1" --nic igb-pair --nic e1000e-pair -- \
		app/test/guest/testpmd_exec.sh "build-$1"
}

# The programs that know DPDK: what the others test is the same everywhere.
suite_tests() { # suite_tests SUITE
	local program
	while IFS= read -r program; do
		tap "${program##*/} ($1)" devtools/vm/suite "$1" -- "$program"
	done < <(test_programs "build-$1" | grep '/wherry-test-')
	report_missing "build-$1"
}

stage_suites() {
	local suite
	if [ -z "$full" ]; then
		skip "Debian ${suites[*]}" "devtools/test --full suites runs them"
		return
	fi
	if [ "$(id -u)" -ne 0 ]; then
		skip "Debian ${suites[*]}" "not root, which a chroot needs: sudo devtools/test --full suites"
		return
	fi
	[ -z "$packages" ] || limit=900 check "packages of the machines" guest_packages || return
	for suite in "${suites[@]}"; do
		limit=1200 check "Debian $suite is unpacked" devtools/vm/build "root-$suite" || continue
		limit=1200 check "build-$suite is built" devtools/vm/suite "$suite" --build "build-$suite" || continue
		suite_tests "$suite"
		limit=3600 check "the machine is built" devtools/vm/build vtd || continue
		suite_in_guest "$suite"
	done
}
