#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Small pages, memory that comes and goes under traffic, a port on type1 beside one on iommufd, refused physical addresses (testpmd_exec.sh).
# Machines: vtd-ad
# Options: --nic igb-pair
exec "$(dirname "$0")/testpmd_exec.sh" "$1" small_pages memory_comes_and_goes beside_type1 physical_addresses_are_refused without_shim
