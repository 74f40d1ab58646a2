#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Usage: netem.sh BUILD [TEST...]: migrations over lines that the kernel's netem makes bad
# (app/test/migrate/test_netem.c).
# Machines: mock
build=$1
shift
exec "$build/app/test/wherry-test" -f "${@:-netem_}"
