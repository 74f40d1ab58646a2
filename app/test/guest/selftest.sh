#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Dirty bits that are not to be believed are found out (app/test/iommufd/test_selftest_real.c).
# Machines: vtd-naive smmu-stale
# Options: --nic e1000e
exec "$1/app/test/wherry-test" -f exact_selftest
