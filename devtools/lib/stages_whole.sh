# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash disable=SC2154 # devtools/lib/report.sh sets it
# Stages that look at the product as its users meet it: build, install, demo, mutate.

stage_build() {
	need_gcc
	need_clang
}

install_release() {
	rm -rf build-release/prefix && meson install -C build-release --quiet
}

# pkg-config, as a user with this prefix would call it
installed() {
	local folder
	folder=$(find "$PWD/build-release/prefix" -type d -name pkgconfig -printf '%p:')
	PKG_CONFIG_PATH=$folder LD_LIBRARY_PATH=$(dirname "${folder%%:*}") "$@"
}

# shellcheck disable=SC2016 # expanded by the shell that has the environment
compile_and_run() { # compile_and_run "PKG-CONFIG-ARGS" SOURCE LIBRARY
	installed sh -ec '
		cc -std=gnu11 -Wall -Wextra -Werror -o build-release/linked "$2" \
			$(pkg-config --cflags $1 wherry) $(pkg-config --libs $1 wherry | sed "s/-lwherry/$3/")
		build-release/linked' sh "$@"
}

stage_install() {
	need_release || return
	check "install into a prefix" install_release || return
	check "pkg-config wherry" installed pkg-config --modversion wherry
	if [ -f examples/dirtywatch/main.c ]; then
		check "a program with the shared library" compile_and_run "" examples/dirtywatch/main.c -lwherry
		check "a program with the static library" compile_and_run "--static" examples/dirtywatch/main.c -l:libwherry.a
	fi
	check "pkg-config wherry-dpdk" installed pkg-config --modversion wherry-dpdk
}

why_no_demo() {
	[ -x devtools/demo ] || { echo "devtools/demo is not there"; return; }
	[ "$(id -u)" -eq 0 ] || { echo "not root: sudo devtools/test demo"; return; }
	[ -c /dev/net/tun ] || echo "no /dev/net/tun: modprobe tun"
}

stage_demo() {
	local reason
	reason=$(why_no_demo)
	if [ -n "$reason" ]; then
		skip "demo" "$reason"
		return
	fi
	limit=300 check "demo" devtools/demo --json "$logs/demo.json"
	limit=300 check "demo over TLS, with etcd" devtools/demo --tls --arbiter etcd --json "$logs/demo-tls.json"
	[ -z "$long" ] || limit=7200 check "200 migrations back and forth, over TLS" \
		devtools/demo --soak --migrations 200 --tls --json "$logs/soak.json"
}

# One bug per folder; with --long all that are known, which takes the better part of an hour.
stage_mutate() {
	local -a sample=(fault_point_never_fires bitmap_second_level_forgets iova_overlap_of_one_byte
		region_length_depends_on_luck iommu_exact_does_not_fence soft_harvest_without_invalidation
		dirty_source_counted_twice stream_payload_checksum_unread migrate_resume_forgotten
		pktpool_adopts_kept_buffers net_room_of_a_buffer_is_ignored tcp_head_length_said_twice)
	[ -z "$long" ] || sample=()
	limit=$((long ? 10800 : 900)) tap "mutants" devtools/mutate "${sample[@]}"
}
