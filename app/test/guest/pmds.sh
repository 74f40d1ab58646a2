# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# To be sourced: EAL's options for the few drivers that tests need, in drivers, and the machine's NICs
# in nics. All 150 take long to load over 9p. And how a process is waited for by its log.

# shellcheck disable=SC2034 # for who sources it
read -r -a nics <<<"${WHERRY_NICS-}"
drivers=()
for name in bus_pci bus_vdev mempool_ring net_e1000 net_vmxnet3 net_virtio; do
	drivers+=(-d "$(echo /usr/lib/*/dpdk/pmds-*)/librte_$name.so")
done

# Wait for something in the log of a process, ten minutes at most. No process per look: forking is
# what is slow where everything is emulated.
saw() { # saw LOG PATTERN PID
	for _ in $(seq 600); do
		[[ ! -e $1 || ! $(<"$1") =~ $2 ]] || return 0
		kill -0 "$3" 2>/dev/null || return 1
		sleep 1
	done
	return 1
}
