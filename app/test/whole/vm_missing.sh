#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Usage: vm_missing.sh TREE: devtools/vm where no mirror answers, which is no failure but a skip
#
# An apt whose only repository is a port of this machine that nobody listens on, and an empty cache.
# TAP, "# N passed, N failed, N skipped" comes last. Needs no root and no network.
set -uo pipefail

tree=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0 failed=0 skipped=0

result() { # result STATUS NAME LOG
	if [ "$1" -eq 0 ]; then
		passed=$((passed + 1))
		echo "ok $((passed + failed)) - $2"
	else
		failed=$((failed + 1))
		echo "not ok $((passed + failed)) - $2"
		sed 's/^/# /' "$3"
	fi
}

# An apt that has been told nothing yet.
empty_apt() {
	mkdir -p "$work/lists/partial"
	echo "deb http://127.0.0.1:9/debian bookworm main" >"$work/sources.list"
	cat >"$work/apt.conf" <<-END
		Dir::Etc::sourcelist "$work/sources.list";
		Dir::Etc::sourceparts "-";
		Dir::State::lists "$work/lists";
		Acquire::Retries "0";
	END
	export APT_CONFIG=$work/apt.conf WHERRY_CACHE=$work/cache
	unset http_proxy https_proxy
}

# One that was, by a mirror that is gone.
deserted_apt() {
	local lists=$work/lists/127.0.0.1:9_debian_dists_bookworm
	printf 'Suite: bookworm\nCodename: bookworm\nComponents: main\nArchitectures: %s\n' \
		"$(dpkg --print-architecture)" >"${lists}_Release"
	: >"${lists}_main_binary-$(dpkg --print-architecture)_Packages"
}

# Status 77, the last line says what is missing, and nothing that looks complete is left.
is_a_skip() { # is_a_skip ARTIFACT WORDS
	local log=$work/$1.log status=0
	"$tree/devtools/vm/build" "$1" >"$log" 2>&1 || status=$?
	[ "$status" -eq 77 ] && tail -n 1 "$log" | grep -q "$2" &&
		! "$tree/devtools/vm/build" --where "$1" >/dev/null 2>&1
	result $? "$1 is not possible: $2" "$log"
}

echo "TAP version 13"
if command -v apt-get >/dev/null && command -v flock >/dev/null; then
	empty_apt
	for artifact in kernel-new qemu-x86_64 root-arm64 root-trixie; do
		is_a_skip "$artifact" "apt knows no Debian repository"
	done
	deserted_apt
	is_a_skip kernel-new "no mirror has linux-source-"
	is_a_skip qemu-x86_64 "no repository has the source of QEMU"
	for artifact in root-arm64 root-trixie; do
		is_a_skip "$artifact" "no Debian mirror answers"
	done
else
	skipped=1
	echo "ok 1 - without a mirror # SKIP no apt-get or no flock on this machine"
fi
echo "1..$((passed + failed + skipped))"
echo "# $passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
