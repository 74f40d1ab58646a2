# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# The build folders, made when a stage first needs one. One folder per purpose:
#
#   build build-clang     what a developer builds, with gcc and with clang
#   build-asan build-tsan build-cov build-fuzz build-release
#                         instrumented, or as a package would be

# The files the source checks look at: what git knows, or all of an unpacked archive.
sources() { # sources PATTERN...
	local pattern
	if git rev-parse --git-dir >/dev/null 2>&1; then
		git ls-files -- "$@"
		return
	fi
	for pattern; do
		find . -path './build*' -prune -o -path "./${pattern#./}" -type f -printf '%P\n'
	done
}

# All of a folder, or the programs whose names begin with $ninja_targets.
configure_and_build() { # configure_and_build FOLDER [MESON-ARG...]
	local folder=$1
	local -a targets=()
	shift
	[ -e "$folder/build.ninja" ] || meson setup "$folder" "$@" || return 1
	[ -z "${ninja_targets:-}" ] || mapfile -t targets < <(ninja -C "$folder" -t targets all |
		sed -nE "s|^(.*/${ninja_targets}[a-z_]+): c_LINKER.*|\1|p")
	ninja -C "$folder" "${targets[@]}"
}

# Build a folder: one counted test, once in this run.
declare -A built=()
need_build() { # need_build FOLDER [MESON-ARG...]
	if [ -z "${built[$1]:-}" ]; then
		built[$1]=failed
		! limit=600 check "$1 is built" configure_and_build "$@" || built[$1]=ok
	fi
	[ "${built[$1]}" = ok ]
}

need_gcc() { CC=gcc need_build build; }
need_clang() { CC=clang need_build build-clang; }
need_asan() { CC=gcc need_build build-asan -Db_sanitize=address,undefined; }
need_tsan() { CC=clang need_build build-tsan -Db_sanitize=thread -Db_lundef=false -Ddpdk=disabled; }
need_fuzz() {
	ninja_targets=fuzz- CC=clang need_build build-fuzz -Dfuzz=true -Db_lundef=false -Ddpdk=disabled
}
need_coverage() { CC=gcc need_build build-cov -Db_coverage=true; }
need_release() {
	CC=gcc need_build build-release --buildtype=release -Dtest_hooks=false --prefix="$PWD/build-release/prefix"
}
