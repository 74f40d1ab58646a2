#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Small pages, memory that comes and goes under traffic, refused physical addresses (testpmd_exec.sh).
# Machines: vtd-ad
# Options: --nic igb-pair
exec "$(dirname "$0")/testpmd_exec.sh" "$1" small_pages memory_comes_and_goes physical_addresses_are_refused without_shim
