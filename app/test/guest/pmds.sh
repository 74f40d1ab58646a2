# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# To be sourced: EAL's options for the few drivers that tests need, in drivers, and the machine's NICs
# in nics. All 150 take long to load over 9p.

# shellcheck disable=SC2034 # for who sources it
read -r -a nics <<<"${WHERRY_NICS-}"
drivers=()
for name in bus_pci bus_vdev mempool_ring net_e1000 net_vmxnet3 net_virtio; do
	drivers+=(-d "$(echo /usr/lib/*/dpdk/pmds-*)/librte_$name.so")
done
