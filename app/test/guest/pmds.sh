# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# To be sourced: EAL's options for the few drivers that tests need, in drivers, and the machine's NICs
# in nics. All 150 take long to load over 9p. And how a process is waited for by its log, and how a
# program with ports of its own is run.

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

# In the foreground, what it prints in $work/out, what it logs in $work/log; with NICs under "wherry exec".
run_ports() { # run_ports PROGRAM EAL-ARG... -- [ARG...]
	local by=()
	[ ${#nics[@]} -eq 0 ] || by=("$build/app/wherry/wherry" exec --quiet --)
	"${by[@]}" timeout -k 5 240 "$build/app/test/guest/$1" --file-prefix="$1-$$" --no-huge -m 64 \
		--no-telemetry --no-shconf --iova-mode=va "${@:2}" >"$work/out" 2>"$work/log"
}

# A test of such programs begins: the build folder, one for what they print, and an end that leaves nothing.
begin_ports() { # begin_ports PROGRAM BUILD
	build=$2 work=$(mktemp -d)
	# shellcheck disable=SC2064 # as it is now
	trap "forget_eals '$1-$$'; rm -rf '$work'" EXIT
	plan_begin
}
