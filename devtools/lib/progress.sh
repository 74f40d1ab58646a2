# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# What a long command says, as one line: rewritten on a terminal, elsewhere the newest every ten seconds.

show_lines() { # show_lines LOG: of stdin, which goes there as it is
	local line last=-10
	while IFS= read -r line; do
		printf '%s\n' "$line"
		if [ -t 2 ]; then
			printf '\r\033[K... %.100s' "${line%%$'\r'*}" >&2
		elif [ $((SECONDS - last)) -ge 10 ]; then
			last=$SECONDS
			printf '... %.100s\n' "$line" >&2
		fi
	done >"$1"
	[ ! -t 2 ] || printf '\r\033[K' >&2
}
